// Package fleet holds devices and the tree of groups they live in.
//
// A device is in exactly one group; the root group is "All devices". Groups inherit statuses and the
// guard mode from their ancestors. Guarantees: a Tree is always one tree (one root, no cycle, no
// orphan, names unique without regard to case); its methods are pure. It does no I/O.
package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// GroupID names a group for ever; its name may change.
type GroupID string

// Root is the group every tree starts with: "All devices".
const Root GroupID = "root"

// RootName is the name of the root group.
const RootName = "All devices"

// DeviceID names a device: derived from its first public key, never from hardware.
type DeviceID string

// GuardMode says what the check inside the package manager does on the devices of a group.
type GuardMode string

// The guard modes. The empty mode in a Group means: as the parent.
const (
	Inherit       GuardMode = ""
	Observe       GuardMode = "observe"        // report only
	BlockDeclined GuardMode = "block_declined" // the default: refuse declined and swapped content
	ApprovedOnly  GuardMode = "approved_only"  // refuse whatever was not approved
)

// Valid reports whether m may be stored in a group.
func (m GuardMode) Valid() bool {
	return slices.Contains([]GuardMode{Inherit, Observe, BlockDeclined, ApprovedOnly}, m)
}

// Group is a node of the device tree.
type Group struct {
	ID     GroupID   `json:"id"`
	Name   string    `json:"name"`
	Parent GroupID   `json:"parent,omitempty"` // empty only for the root
	Guard  GuardMode `json:"guard,omitempty"`
	Test   bool      `json:"test,omitempty"` // its devices, and those of the groups below it, try things out first
}

// DeviceState says whether a device may talk to the server.
type DeviceState string

// The device states.
const (
	Active      DeviceState = "active"
	Quarantined DeviceState = "quarantined" // cloned or doubted: gets no plans until released
	Retired     DeviceState = "retired"     // refused at the handshake
)

// Device is a machine that runs the agent, as decisions see it. What it reports is in wire.Facts.
type Device struct {
	ID         DeviceID    `json:"id"`
	Name       string      `json:"name"` // its hostname at enrolment; unique names are not promised
	Group      GroupID     `json:"group"`
	State      DeviceState `json:"state"`
	Reason     string      `json:"reason,omitempty"` // why it is quarantined or retired
	Key        string      `json:"key"`              // SHA-256 of its public key (SubjectPublicKeyInfo), hex
	EnrolledAt time.Time   `json:"enrolled_at"`
}

// Tree is the checked tree of groups. The zero value is not usable; make one with NewTree.
type Tree struct {
	groups   map[GroupID]Group
	children map[GroupID][]GroupID
}

// NewTree checks that groups form one tree and returns it.
func NewTree(groups []Group) (Tree, error) {
	t := Tree{groups: map[GroupID]Group{}, children: map[GroupID][]GroupID{}}
	names := map[string]GroupID{}
	for _, g := range groups {
		if err := check(g); err != nil {
			return Tree{}, err
		}
		if _, dup := t.groups[g.ID]; dup {
			return Tree{}, fmt.Errorf("group id %q stands twice", g.ID)
		}
		if other, dup := names[strings.ToLower(g.Name)]; dup {
			return Tree{}, fmt.Errorf("groups %q and %q have the same name %q", other, g.ID, g.Name)
		}
		t.groups[g.ID], names[strings.ToLower(g.Name)] = g, g.ID
		if g.ID != Root {
			t.children[g.Parent] = append(t.children[g.Parent], g.ID)
		}
	}
	if _, ok := t.groups[Root]; !ok {
		return Tree{}, fmt.Errorf("there is no root group")
	}
	if n := len(t.Subtree(Root)); n != len(groups) {
		return Tree{}, fmt.Errorf("%d of %d groups cannot be reached from the root: an unknown parent or a cycle", len(groups)-n, len(groups))
	}
	for parent, ids := range t.children {
		slices.SortFunc(ids, func(a, b GroupID) int { return strings.Compare(t.groups[a].Name, t.groups[b].Name) })
		t.children[parent] = ids
	}
	return t, nil
}

// check refuses a group that is wrong by itself.
func check(g Group) error {
	switch {
	case g.ID == "":
		return fmt.Errorf("a group has no id")
	case strings.TrimSpace(g.Name) == "":
		return fmt.Errorf("group %q has no name", g.ID)
	case (g.ID == Root) != (g.Parent == ""):
		return fmt.Errorf("group %q: the root, and only the root, has no parent", g.ID)
	case !g.Guard.Valid():
		return fmt.Errorf("group %q: guard mode %q is not known", g.ID, g.Guard)
	}
	return nil
}

// Get returns a group.
func (t Tree) Get(id GroupID) (Group, bool) { g, ok := t.groups[id]; return g, ok }

// Find returns the group with this id or, without regard to case, this name.
func (t Tree) Find(nameOrID string) (Group, bool) {
	if g, ok := t.groups[GroupID(nameOrID)]; ok {
		return g, true
	}
	for _, g := range t.groups {
		if strings.EqualFold(g.Name, nameOrID) {
			return g, true
		}
	}
	return Group{}, false
}

// Path returns the group and its ancestors, nearest first, root last. It is empty for an unknown group.
func (t Tree) Path(id GroupID) []GroupID {
	var path []GroupID
	for g, ok := t.groups[id]; ok; g, ok = t.groups[g.Parent] {
		path = append(path, g.ID)
	}
	return path
}

// Subtree returns the group and its descendants, parents before children, siblings by name.
func (t Tree) Subtree(id GroupID) []GroupID {
	if _, ok := t.groups[id]; !ok {
		return nil
	}
	out := []GroupID{id}
	for i := 0; i < len(out); i++ {
		out = append(out, t.children[out[i]]...)
	}
	return out
}

// Children returns the ids of a group's children, by name.
func (t Tree) Children(id GroupID) []GroupID { return slices.Clone(t.children[id]) }

// Contains reports whether inner is scope itself or one of its descendants.
func (t Tree) Contains(scope, inner GroupID) bool { return slices.Contains(t.Path(inner), scope) }

// Guard returns the guard mode that applies in a group: its own or the nearest ancestor's,
// BlockDeclined where none is set.
func (t Tree) Guard(id GroupID) GuardMode {
	for _, g := range t.Path(id) {
		if m := t.groups[g].Guard; m != Inherit {
			return m
		}
	}
	return BlockDeclined
}

// Test reports whether the devices of a group try things out first: it or one of its ancestors is marked so.
func (t Tree) Test(id GroupID) bool {
	return slices.ContainsFunc(t.Path(id), func(g GroupID) bool { return t.groups[g].Test })
}

// Groups returns all groups, by id.
func (t Tree) Groups() []Group {
	return slices.SortedFunc(maps.Values(t.groups), func(a, b Group) int { return strings.Compare(string(a.ID), string(b.ID)) })
}
