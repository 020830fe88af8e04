# Sourced by quickstart.sh and test.sh: `install_denoiseq TARGET` makes .venv and installs dilconv
# (./kernels) and TARGET (denoiseq: `.` or `.[test]`) together, with the tested versions. pip's own
# variables (PIP_INDEX_URL, …) are honoured.

fail() { echo "error: $*" >&2; exit 2; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

# A torch that is installed already is used as it is: it is the one large download. Not one of an
# active virtual environment, which .venv would not see.
has_torch() {
  "$1" -c 'import sys, torch
version = tuple(map(int, torch.__version__.split(".")[:2]))
sys.exit(sys.prefix != sys.base_prefix or version < (2, 9))' 2>/dev/null
}

make_venv() {
  local python options=()
  python=$(find_python)
  [ -n "$python" ] || fail "Python 3.11 or newer was not found: install it, or set PYTHON to it."
  if has_torch "$python"; then options=(--system-site-packages); fi
  echo "making .venv with $("$python" --version)"
  "$python" -m venv --clear ${options[@]+"${options[@]}"} .venv ||
    fail "python -m venv failed: install the venv module (for example: apt install python3-venv)."
}

check_compiler() {
  local folder
  folder=$(mktemp -d)
  echo 'auto f = [] { if constexpr (true) return 0; }; int main() { return f(); }' >"$folder/a.cpp"
  if ! "${CXX:-c++}" -std=c++17 "$folder/a.cpp" -o "$folder/a" 2>/dev/null; then
    rm -rf "$folder"
    fail "no C++17 compiler was found: install one (for example: apt install g++), or set CXX."
  fi
  rm -rf "$folder"
}

# What dilconv was built from: an edit of a kernel, a new or renamed module and new metadata ask for
# a new build, which compiles everything; edits of Python take effect by themselves.
dilconv_key() {
  { pwd
    find kernels \( -path kernels/build -o -name __pycache__ -o -name '*.so' \) -prune \
      -o -type f -print | sort
    find kernels \( -path kernels/build -o -name __pycache__ \) -prune \
      -o -type f ! -name '*.py' ! -name '*.so' ! -name '*.md' -print0 | sort -z | xargs -0 cat
  } | cksum | tr ' ' '-'
}

# What denoiseq was installed from: it is pure Python, so only its metadata and requirements count.
denoiseq_key() {
  { pwd; cat pyproject.toml constraints.txt; } | cksum | tr ' ' '-'
}

# Until 0.2.0 denoiseq was one distribution that owned dilconv's files too: an upgrade by pip would
# install the new dilconv first and then delete it with the old denoiseq.
uninstall_single_distribution() {
  if .venv/bin/python - <<'PYTHON'
import sys
from importlib import metadata
try:
    version = metadata.version("denoiseq")
except metadata.PackageNotFoundError:
    sys.exit(1)
sys.exit(tuple(map(int, version.split(".")[:2])) >= (0, 2))
PYTHON
  then
    echo "uninstalling the denoiseq of before 0.2.0, which owns dilconv's files"
    .venv/bin/python -m pip uninstall --quiet --disable-pip-version-check --yes denoiseq ||
      fail "the old denoiseq could not be uninstalled: delete .venv and start again."
  fi
}

install_denoiseq() {
  local target=$1 stamp=.venv/denoiseq-installed dilconv denoiseq constraints editable
  .venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv
  dilconv="dilconv $(dilconv_key)"
  denoiseq="denoiseq $(denoiseq_key)"
  editable=(-e ./kernels -e "$target")
  if grep -qxF "$dilconv" "$stamp" 2>/dev/null; then
    if grep -qxF "$denoiseq $target" "$stamp"; then return; fi
    editable=(-e "$target")  # compiles nothing
  else
    check_compiler
  fi
  uninstall_single_distribution
  constraints=$(mktemp)
  if grep -q '^include-system-site-packages = true' .venv/pyvenv.cfg; then
    grep -v '^torch==' constraints.txt >"$constraints"
  else
    cat constraints.txt >"$constraints"
  fi
  echo "installing denoiseq into .venv"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    -c "$constraints" "${editable[@]}" || fail "the installation failed: pip says why above."
  rm -f "$constraints"
  { echo "$dilconv"
    grep "^$denoiseq " "$stamp" 2>/dev/null || true  # other targets of the same metadata
    echo "$denoiseq $target"
  } >"$stamp.new"
  mv "$stamp.new" "$stamp"
}
