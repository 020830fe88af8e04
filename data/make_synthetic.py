"""Make a small synthetic data set: python data/make_synthetic.py FOLDER [--seed N]."""

from denoiseq.genomics.synthetic import main

if __name__ == "__main__":
    main()
