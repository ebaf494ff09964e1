package tree

import "assent/agent/internal/journal"

// The moments of a transaction at which a kill would hurt most, in their order; see journal.CrashPoint.
const (
	payloadPart     journal.Point = "tree_payload_part"     // all bytes are there, under the name of a part
	payloadFetched  journal.Point = "tree_payload_fetched"  // the payload is in the cache
	unpackHalf      journal.Point = "tree_unpack_half"      // some entries are unpacked
	unpacked        journal.Point = "tree_unpacked"         // all are, still under the staging name
	placed          journal.Point = "tree_placed"           // the tree has its name; nothing knows of it
	announced       journal.Point = "tree_announced"        // the switch is recorded as begun
	linkMade        journal.Point = "tree_link_made"        // the new link lies beside the old one
	switched        journal.Point = "tree_switched"         // the new version is in force, not recorded
	recorded        journal.Point = "tree_recorded"         // it is recorded; old trees are still there
	removeAnnounced journal.Point = "tree_remove_announced" // taking off is recorded as begun
	unlinked        journal.Point = "tree_unlinked"         // the link is gone, not recorded
	trashHalf       journal.Point = "tree_trash_half"       // some directories are deleted
	swept           journal.Point = "tree_swept"            // all are, not recorded
)

// points lists them, for the test that kills at each.
func points() []journal.Point {
	return []journal.Point{payloadPart, payloadFetched, unpackHalf, unpacked, placed, announced, linkMade, switched, recorded,
		removeAnnounced, unlinked, trashHalf, swept}
}
