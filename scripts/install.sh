# Sourced by quickstart.sh and test.sh: `install_denoiseq TARGET` makes .venv and installs TARGET
# (`.` or `.[test]`) with the tested versions. pip's own variables (PIP_INDEX_URL, …) are honoured.

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

# A torch that is installed already is used as it is: it is the one large download.
has_torch() {
  "$1" -c 'import sys, torch
sys.exit(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9))' 2>/dev/null
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

# What the installed package was built from: an edit of a kernel asks for a new build.
source_key() {
  { pwd; find pyproject.toml constraints.txt kernels -type f \
      -not -path '*/__pycache__/*' -not -name '*.py' -not -name '*.so' -print0 |
      sort -z | xargs -0 cat; } | cksum | tr ' ' '-'
}

install_denoiseq() {
  local target=$1 stamp=.venv/denoiseq-installed key constraints
  .venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv
  key=$(source_key)
  if grep -qxF "$key $target" "$stamp" 2>/dev/null; then return; fi
  check_compiler
  constraints=$(mktemp)
  if grep -q '^include-system-site-packages = true' .venv/pyvenv.cfg; then
    grep -v '^torch==' constraints.txt >"$constraints"
  else
    cat constraints.txt >"$constraints"
  fi
  echo "installing denoiseq into .venv"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    -c "$constraints" -e "$target" || fail "the installation failed: pip says why above."
  rm -f "$constraints"
  grep -q "^$key " "$stamp" 2>/dev/null || : >"$stamp"
  echo "$key $target" >>"$stamp"
}
