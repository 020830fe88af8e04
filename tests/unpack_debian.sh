# Sourced: `unpack_debian PACKAGE ...` unpacks Debian packages under ./root, from the mirror that
# this machine's apt already uses. Installs nothing; says why not and exits 1 where it cannot.
unpack_debian() {
  local tool mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg
  for tool in apt-get dpkg; do
    command -v $tool > /dev/null || { echo "$tool is not installed" >&2; exit 1; }
  done
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | sort -u | head -n 1)
  [ -n "$mirror" ] || { echo "no apt mirror is configured" >&2; exit 1; }
  mkdir -p lists/partial cache/archives/partial packages root
  echo "deb [signed-by=$keys] $mirror trixie main" > sources.list
  cat > apt.conf << CONF
Dir::Etc::sourcelist "$PWD/sources.list"; Dir::Etc::sourceparts "-";
Dir::State::lists "$PWD/lists"; Dir::Cache "$PWD/cache";
APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "2";
CONF
  APT_CONFIG=$PWD/apt.conf apt-get -qq update
  (export APT_CONFIG=$PWD/apt.conf && cd packages && apt-get -qq download "$@")
  for package in packages/*.deb; do dpkg -x "$package" root; done
  rm -rf lists cache packages
}
