package decide

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/planner"
)

// List returns a page of the updates that a filter selects, as seen from its group (the actor's own
// scope by default).
func (s *Service) List(_ context.Context, who auth.Actor, f client.Filter, p client.Page) (client.List[client.UpdateRow], error) {
	out := client.List[client.UpdateRow]{Items: []client.UpdateRow{}}
	err := s.look(func(m *moment) error {
		sight, err := m.from(who, ledger.Viewer, f)
		if err != nil {
			return err
		}
		column, ok := columns()[strings.TrimPrefix(cmp.Or(p.Sort, "name"), "-")]
		if !ok {
			return unknownColumn(p.Sort, columns())
		}
		page, err := paginate(sight.selected(f), column.of(sight), column.less, func(u index.Update) string { return string(u.ID) }, p, "name")
		if err != nil {
			return err
		}
		out.Total, out.Next = page.total, page.next
		for _, u := range page.items {
			out.Items = append(out.Items, sight.row(u))
		}
		return nil
	})
	return out, err
}

// sight is the catalog as seen from a group.
type sight struct {
	*moment
	group   fleet.GroupID
	devices *roaring.Bitmap // of the group and below
	others  *roaring.Bitmap // all devices but those, where they are few; nil where they are many
	bits    []uint64        // devices, a bit for each
	offered func(index.Update) bool
}

// from opens the view of a filter: its group, and its device where it has one.
func (m *moment) from(who auth.Actor, role ledger.Role, f client.Filter) (*sight, error) {
	g, err := scope(m.View, who, role, f.Group, who.Scope)
	if err != nil {
		return nil, err
	}
	out := &sight{moment: m, group: g.ID, devices: m.In(g.ID)}
	if out.others = m.few(out.devices); out.others == nil {
		out.bits = out.devices.ToDense()
	}
	if err := checkFilter(f); err != nil {
		return nil, err
	}
	if f.Device == "" {
		return out, nil
	}
	d, err := m.FindDevice(f.Device, who.Scope)
	if err != nil {
		return nil, err
	}
	out.offered = func(u index.Update) bool { return u.Needs.Contains(d.Number) || u.Brought.Contains(d.Number) }
	return out, nil
}

// fewer is how many times fewer the others have to be before leaving them out is less work than looking at the devices.
const fewer = 16

// few are the devices outside a set, where they are few: what is counted in the set of nearly all, from the root group above
// all, is what is counted everywhere less what is counted in these.
func (m *moment) few(devices *roaring.Bitmap) *roaring.Bitmap {
	all := uint64(m.NumberOfDevices())
	if all-devices.GetCardinality() > all/fewer {
		return nil
	}
	return roaring.Flip(devices, 0, all)
}

// checkFilter refuses values that do not exist: a filter that silently matches nothing hides a mistake.
func checkFilter(f client.Filter) error {
	if f.View != "" && f.View != client.Seamless {
		return unknownValue("view", f.View, client.Seamless)
	}
	for _, v := range f.Status {
		if !v.Valid() {
			return unknownValue("status", string(v), "undefined, approved, declined")
		}
	}
	for _, v := range f.Class {
		if !slices.Contains([]catalog.Class{catalog.Component, catalog.Managed, catalog.ThirdParty, catalog.Content}, v) {
			return unknownValue("class", string(v), "component, managed, third_party, content")
		}
	}
	for _, v := range f.Severity {
		if v != catalog.Unrated && v.Rank() == 0 {
			return unknownValue("severity", string(v), "unrated, low, medium, high, critical")
		}
	}
	for _, v := range f.State {
		if !v.Valid() {
			return unknownValue("state", string(v), joined(installation.States()))
		}
	}
	return nil
}

func joined[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return strings.Join(out, ", ")
}

func unknownValue(field, value, known string) error {
	return fault.New(fault.Invalid, field+"_unknown", "There is no %s %q; there are: %s.", field, shorten(value), known).On(field)
}

// selected iterates over the updates that match the filter.
func (s *sight) selected(f client.Filter) iter.Seq[index.Update] {
	words := strings.Fields(strings.ToLower(f.Search))
	return func(yield func(index.Update) bool) {
		for u := range s.Updates() {
			if s.matches(u, f) && u.Matches(words) && s.matchesDevices(u, f) && !yield(u) {
				return
			}
		}
	}
}

// matches looks at the update itself.
func (s *sight) matches(u index.Update, f client.Filter) bool {
	switch {
	case f.View == client.Seamless && u.Class != catalog.Managed && u.Class != catalog.Component:
	case f.Gated != nil && *f.Gated != s.gated(u):
	case f.Revoked != nil && *f.Revoked != u.Recalled():
	case f.Exploited != nil && *f.Exploited != u.KnownExploited():
	case f.Changed != nil && *f.Changed != s.changed(u):
	case f.Agreements != nil && *f.Agreements != (len(s.pending(u)) > 0):
	case len(f.Class) > 0 && !slices.Contains(f.Class, u.Class):
	case len(f.Severity) > 0 && !slices.Contains(f.Severity, cmp.Or(u.Severity, catalog.Unrated)):
	case f.Security != nil && *f.Security != u.Security:
	case len(f.Origin) > 0 && !slices.ContainsFunc(u.Origins, func(o string) bool { return containsFold(f.Origin, o) }):
	case s.offered != nil && !s.offered(u):
	case len(f.Status) > 0 && !slices.Contains(f.Status, s.status(u).Status):
	default:
		return true
	}
	return false
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(v string) bool { return strings.EqualFold(v, s) })
}

// matchesDevices looks at the devices of the group.
func (s *sight) matchesDevices(u index.Update, f client.Filter) bool {
	if f.Needed != nil && *f.Needed != (s.count(u.Needs) > 0) {
		return false
	}
	if f.Installed != nil && *f.Installed != (s.count(u.Has) > 0) {
		return false
	}
	if f.Superseded != nil {
		if _, superseded := s.superseded(u); superseded != *f.Superseded {
			return false
		}
	}
	return len(f.State) == 0 || slices.ContainsFunc(f.State, func(st installation.State) bool { return s.anyInState(u, st) })
}

// status is the effective status in the group.
func (s *sight) status(u index.Update) approval.Result { return s.Judged(u, s.group, s.now) }

// superseded finds the newer release that takes the update's place for the devices of the group.
func (s *sight) superseded(u index.Update) (index.Update, bool) {
	return s.Superseded(u, s.devices, nil)
}

// inState counts the devices of the group on which the update is in a state.
func (s *sight) inState(u index.Update, st installation.State) uint64 {
	t := s.board.Tally(u.Number)
	switch st {
	case installation.Installed:
		return s.plain(t, u.Has)
	case installation.Applicable:
		return s.plain(t, u.Needs, u.Has)
	case installation.NotApplicable:
		return s.plain(t, s.devices, u.Needs, u.Has)
	}
	return s.count(t.States[st])
}

// anyInState tells whether inState counts any. Where the sets are large enough, it follows from their sizes.
func (s *sight) anyInState(u index.Update, st installation.State) bool {
	t := s.board.Tally(u.Number)
	var have, taken uint64
	switch st {
	case installation.Installed:
		have = s.count(u.Has)
	case installation.Applicable:
		have, taken = s.count(u.Needs), u.Has.GetCardinality()
	case installation.NotApplicable:
		have, taken = s.devices.GetCardinality(), u.Needs.GetCardinality()+u.Has.GetCardinality()
	default:
		return s.inState(u, st) > 0
	}
	for other, devices := range t.States {
		if other != installation.Installed && other != installation.Applicable {
			taken += devices.GetCardinality()
		}
	}
	return have > taken || s.inState(u, st) > 0
}

// plain counts the devices of a set that are in none of others, and for which the board has nothing else to say.
func (s *sight) plain(t planner.Tally, set *roaring.Bitmap, others ...*roaring.Bitmap) uint64 {
	rest := roaring.And(set, s.devices)
	for _, other := range others {
		rest.AndNot(other)
	}
	for st, devices := range t.States {
		if st != installation.Installed && st != installation.Applicable {
			rest.AndNot(devices)
		}
	}
	return rest.GetCardinality()
}

// count counts the devices of the group in a set, which may be nil.
func (s *sight) count(set *roaring.Bitmap) uint64 {
	switch {
	case set == nil || set.IsEmpty():
		return 0
	case s.others == nil && set.GetCardinality() < s.devices.GetCardinality():
		return s.countBits(set)
	case s.others == nil:
		return set.AndCardinality(s.devices)
	case s.others.IsEmpty():
		return set.GetCardinality()
	}
	return set.GetCardinality() - set.AndCardinality(s.others)
}

// countBits counts device by device: with a set of fewer devices than the group has, that is several times less work than
// merging two sorted lists.
func (s *sight) countBits(set *roaring.Bitmap) (n uint64) {
	var part [256]uint32
	for it := set.ManyIterator(); ; {
		some := it.NextMany(part[:])
		if some == 0 {
			return n
		}
		for _, device := range part[:some] {
			if word := int(device / 64); word < len(s.bits) {
				n += s.bits[word] >> (device % 64) & 1
			}
		}
	}
}

// row is the update as the group sees it.
func (s *sight) row(u index.Update) client.UpdateRow {
	res, t := s.status(u), s.board.Tally(u.Number)
	row := client.UpdateRow{ID: u.ID, PURL: u.PURL(), Name: u.Name, Version: u.Version, Status: res.Status,
		Class: u.Class, Severity: cmp.Or(u.Severity, catalog.Unrated), Security: u.Security, Origins: slices.Clone(u.Origins), Summary: u.Summary,
		Needed: int(s.count(u.Needs)), Installed: int(s.count(u.Has)), Against: int(s.count(t.Against)), Failed: int(s.failed(t)),
		Blocked: int(s.count(t.States[installation.Blocked])), Phased: u.Phased, Size: size(u), FirstSeen: u.FirstSeen}
	if d := res.Decision; d != nil {
		row.Inherited = d.Scope != s.group
		row.Changed = grown(u, res)
	}
	for _, e := range s.Exceptions(u.ID) {
		if s.now.Before(e.Expires) {
			row.Exceptions++
		}
	}
	if by, ok := s.superseded(u); ok {
		row.SupersededBy = by.ID
	}
	s.published(&row, u)
	return row
}

// published adds what the update's feed says.
func (s *sight) published(row *client.UpdateRow, u index.Update) {
	p := u.Published
	if p == nil {
		return
	}
	row.Title, row.Revoked, row.Exploited, row.Held = p.Title, u.Recalled(), u.KnownExploited(), p.Unknown
	if least, held := gated(*u.Update, s.Version()); held {
		row.Gated = least
	}
	for _, a := range agreements(s.View, u) {
		if !a.Accepted {
			row.Agreements++
		}
	}
	if u.Class == catalog.Content {
		row.Verified = "staged"
		if c, ok := s.State().Contents[u.ID]; ok {
			row.Verified = map[bool]string{true: "released", false: "refused"}[c.Passed]
		}
	}
}

// changed tells whether files came to an update since it was approved.
func (s *sight) changed(u index.Update) bool { return grown(u, s.status(u)) }

func grown(u index.Update, res approval.Result) bool {
	return res.Status == approval.Approved && u.Rev() > res.Decision.Rev
}

// pending lists the agreements that hold an update back.
func (s *sight) pending(u index.Update) []client.AgreementRow {
	if u.Published == nil {
		return nil
	}
	return slices.DeleteFunc(agreements(s.View, u), func(a client.AgreementRow) bool { return a.Accepted })
}

func (s *sight) gated(u index.Update) bool {
	_, held := gated(*u.Update, s.Version())
	return held
}

func (s *sight) failed(t planner.Tally) uint64 {
	return s.count(t.States[installation.Failed]) + s.count(t.States[installation.RemoveFailed])
}

// size is the bytes of the update's own items for the architecture that has most of them.
func size(u index.Update) int64 {
	seen := map[string]bool{}
	by := map[string]int64{}
	for _, it := range u.Items {
		if it.Role == catalog.Own && !seen[it.Item.Key()] {
			seen[it.Item.Key()] = true
			by[it.Arch] += it.Size
		}
	}
	all := by["all"]
	delete(by, "all")
	var most int64
	for _, n := range by {
		most = max(most, n)
	}
	return most + all
}
