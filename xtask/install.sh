# To be sourced: installs Debian packages, as root or through sudo, and says first which.

# install_packages WHO PACKAGE…: nothing when there is no package. Ends the script, with one line that WHO says, when it cannot.
install_packages() {
    local who=$1 as_root=()
    shift
    [ $# -gt 0 ] || return 0
    cannot() {
        printf '%s: %s\n' "$who" "$*" >&2
        exit 1
    }
    command -v apt-get >/dev/null || cannot "there is no apt-get here; install these by hand: $*"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || cannot "needs root or sudo to install: $*"
        as_root=(sudo)
    fi
    printf '%s: installing Debian packages: %s\n' "$who" "$*" >&2
    "${as_root[@]}" apt-get update -q >&2 || cannot "apt-get update failed; is there a network?"
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -q --no-install-recommends "$@" >&2 ||
        cannot "apt-get could not install: $*"
}
