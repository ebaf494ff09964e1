package catalog

// DpkgArch is the name that dpkg has for an architecture of an item, as facts and platforms spell it; "all" for items that
// fit every one. Names that both package managers share, and unknown ones, stay.
func DpkgArch(arch string) string {
	switch arch {
	case "noarch":
		return "all"
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "i486", "i586", "i686":
		return "i386"
	case "armv7hl":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	}
	return arch
}
