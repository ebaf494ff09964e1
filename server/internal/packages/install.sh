die() {
	echo "assent: $*" >&2
	exit 1
}

usage() {
	cat <<USAGE
$kit_title
Usage: sh $0          install it, as root; no network is needed
       sh $0 --check  only check that this file is whole, and say what is in it
USAGE
}

# The archive follows the last line of this script.
unpack() {
	[ -f "$0" ] && [ "$(sed -n 2p "$0")" = "# $kit_mark" ] || die "save this script as a file and run it from there"
	dir=$(mktemp -d "${TMPDIR:-/var/tmp}/assent-install.XXXXXXXX") || die "there is no room for temporary files"
	trap 'rm -rf "$dir"' EXIT
	trap 'exit 1' HUP INT TERM
	tail -c +$((kit_skip + 1)) "$0" | tar -xf - -C "$dir" --no-same-owner || die "this file is damaged: its archive cannot be read"
	(cd "$dir" && kit_sums | sha256sum -c --status -) || die "this file is damaged: the SHA-256 of a file in it is not the one that was signed"
	chmod 755 "$dir" # apt reads as a user of its own
}

arch() {
	if command -v dpkg >/dev/null; then
		dpkg --print-architecture
		return
	fi
	case $(uname -m) in
	x86_64) echo amd64 ;;
	aarch64) echo arm64 ;;
	armv7*) echo armhf ;;
	*) uname -m ;;
	esac
}

# The platform is an architecture, a distribution with or without its version, or both.
check_platform() {
	ID=linux VERSION_ID=''
	[ ! -r /etc/os-release ] || . /etc/os-release
	arch=$(arch)
	for p in all "$arch" "$ID" "$ID-$VERSION_ID" "$ID-$arch" "$ID-$VERSION_ID-$arch"; do
		[ "$p" != "$kit_platform" ] || return 0
	done
	die "this is for $kit_platform, and this machine is $ID-$VERSION_ID-$arch"
}

enrolled() { [ -e /var/lib/assent-agent/identity.json ]; }

# debs FILE…: the device's own package manager installs exactly these files. It is given no package sources, so that
# nothing else can come in; where Assent's guard is there, it judges this transaction like any other.
debs() {
	command -v apt-get >/dev/null || die "this machine has no apt"
	(cd "$dir" && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-remove --no-install-recommends \
		-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
		-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=120 install "$@") ||
		die "apt did not install it; it says above why"
}

# have PACKAGE VERSION: success is the right version, fully configured.
have() {
	found=$(dpkg-query -W -f '${db:Status-Abbrev}${Version}' "$1" 2>/dev/null || true)
	[ "$found" = "ii $2" ] || die "$1 $2 is not installed: dpkg says '$found'"
}

# place BASE FEED APPLICATION VERSION: where a version goes, side by side with others, as Assent's agent lays them out.
place() {
	# What the agent keeps out, nobody may bring in past it: no package manager guards trees.
	! enrolled || die "this machine is one of Assent's devices; put $3 onto it from there: assent package deploy"
	home=$1/$2/$3
	mkdir -p "$home/versions"
	chmod 755 "$1" "$1/$2" "$home" "$home/versions"
	case $(readlink "$home/current" 2>/dev/null || true) in
	"versions/$4" | "versions/$4~"*)
		echo "$3 $4 is in place already."
		return 1
		;;
	esac
	to=$4
	n=2
	while [ -e "$home/versions/$to" ]; do
		to=$4~$n
		n=$((n + 1))
	done
	new=$home/versions/.new
	rm -rf "$new"
	mkdir -m 700 "$new"
}

# switch: the new version comes into force by one rename, after all of it is on disk.
switch() {
	find "$new" -perm /7000 -exec chmod a-st {} +
	chmod 755 "$new"
	mv -T "$new" "$home/versions/$to"
	sync
	ln -sfn "versions/$to" "$home/.current.new"
	mv -T "$home/.current.new" "$home/current"
	sync
}

# tree FEED APPLICATION VERSION FILE
tree() {
	place /opt/assent "$1" "$2" "$3" || return 0
	tar -xf "$dir/$4" -C "$new" --no-same-owner || die "$2 $3 cannot be unpacked"
	switch
}

# data FEED APPLICATION VERSION FILE: an archive, or one file under the application's name.
data() {
	place /var/lib/assent-content "$1" "$2" "$3" || return 0
	if tar -tf "$dir/$4" >/dev/null 2>&1; then
		tar -xf "$dir/$4" -C "$new" --no-same-owner || die "$2 $3 cannot be unpacked"
	else
		cp "$dir/$4" "$new/$2"
	fi
	switch
}

# enrol makes this machine one of the server's devices. The token goes through a pipe: arguments are seen by all users.
enrol() {
	printf '%s\n' "$kit_token" | assent-agent enrol --server "$kit_server" --token - ||
		die "the agent is installed, but this machine is not enrolled; the token in this file works once, until $kit_until: download the package again"
	if [ -d /run/systemd/system ]; then
		systemctl start --no-block assent-agent.service
	else
		echo "There is no systemd here: have \"assent-agent run\" started at boot."
	fi
}

main() {
	case ${1:-} in
	'') ;;
	--check)
		unpack
		echo "$kit_title: whole."
		kit_list
		exit 0
		;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		usage >&2
		exit 2
		;;
	esac
	[ "$(id -u)" = 0 ] || die "run this as root"
	check_platform
	if [ -n "$kit_token" ] && enrolled; then
		echo "This machine is enrolled already; nothing was changed."
		exit 0
	fi
	unpack
	kit_install
	[ -z "$kit_token" ] || enrol
	echo "Installed $kit_title."
}

main "$@"
exit
