package catalog

import "slices"

// Names reports whether u's publisher names another release of the same software as one that u takes the place of
// (supersedes in its manifest), and not the other way round.
func (u Update) Names(other Update) bool {
	return u.names(other) && !other.names(u)
}

func (u Update) names(other Update) bool {
	return u.Published != nil && u.Release.Software == other.Release.Software && slices.Contains(u.Published.Supersedes, other.Release.Version)
}

// Supersedes reports whether u takes the place of another release of its software where a device could take both:
// newer says whether its version is the later one, unless a publisher says which of the two replaces the other. A
// release that was recalled takes nobody's place (A5, A8).
func (u Update) Supersedes(other Update, newer bool) bool {
	if u.Recalled() || u.Release == other.Release || other.Names(u) {
		return false
	}
	return newer || u.Names(other)
}
