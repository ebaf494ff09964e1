package decide

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// overdue is the key in Status.Queue of what lasts longer than its state may (V1): a device that fell
// silent is not for ever in progress.
const overdue = "overdue"

// refusedFor is how long a refused plan asks for attention. A device says it once a day while it goes on.
const refusedFor = 36 * time.Hour

// illegalFor is how long a report that V1 does not allow asks for attention.
const illegalFor = 7 * 24 * time.Hour

// Status is the state of the whole, as far as the actor's role reaches, in one answer.
func (s *Service) Status(_ context.Context, who auth.Actor) (client.Status, error) {
	out := client.Status{Version: s.version, Engine: s.engine}
	err := s.look(func(m *moment) error {
		view, err := m.from(who, ledger.Viewer, client.Filter{})
		if err != nil {
			return err
		}
		out.Org, out.Now, out.Ledger = m.State().Server.Org, m.now, m.State().Seq
		t := &totals{sight: view, blocked: map[string]int{}, queue: map[string]int{}, bySeverity: map[string]int{}, trouble: map[string][]string{}, byCause: map[string]*roaring.Bitmap{}}
		t.countDevices()
		t.countUpdates()
		t.noteRollouts()
		out.Undecided, out.Recalled, out.Gates = t.bySeverity, t.recalls, t.gates
		out.Devices, out.Updates, out.Queue, out.Blocked = t.devices, t.updates, t.queue, t.blocked
		out.Compliance = view.compliance()
		t.rehearsal = t.rehearsalFigures(t.sight.devices)
		out.Rehearsal = t.rehearsal
		out.Attention = t.attention()
		if s.storage != nil {
			out.Storage = s.storage()
		}
		if s.alarms != nil {
			out.Attention = append(s.alarms(), out.Attention...)
		}
		return nil
	})
	return out, err
}

// compliance counts the pairs of devices and updates that apply and are decided on, each with the status
// in the device's own group. Where several approved releases fit, the newest stands for them.
func (s *sight) compliance() client.Compliance {
	var c client.Compliance
	byGroup := s.byGroup()
	for _, software := range s.decidedSoftware() {
		for _, p := range s.segments(software, byGroup) {
			s.comply(&c, software, p)
		}
	}
	return c
}

// segment is a set of devices for which the same decisions count.
type segment struct {
	group   fleet.GroupID
	devices *roaring.Bitmap
}

// byGroup splits the devices by their very group.
func (s *sight) byGroup() []segment {
	var out []segment
	for _, g := range s.Tree().Subtree(s.group) {
		if devices := s.Own(g); devices != nil && !devices.IsEmpty() {
			out = append(out, segment{g, devices})
		}
	}
	return out
}

// segments gives one segment where all decisions on the software are made for the whole view, else one for each
// group.
func (s *sight) segments(releases []index.Update, byGroup []segment) []segment {
	path := s.Tree().Path(s.group)
	above := func(g fleet.GroupID) bool { return slices.Contains(path, g) }
	for _, d := range s.Decisions(releases[0].Software) {
		if !above(d.Scope) {
			return byGroup
		}
	}
	for _, u := range releases {
		for _, e := range s.Exceptions(u.ID) {
			if !above(e.Scope) {
				return byGroup
			}
		}
	}
	return []segment{{s.group, s.devices}}
}

// decidedSoftware lists the releases, newest first, of each software that somebody decided on.
func (s *sight) decidedSoftware() [][]index.Update {
	var out [][]index.Update
	for software := range s.DecidedSoftware() {
		if releases := s.Releases(software); len(releases) > 0 {
			out = append(out, releases)
		}
	}
	return out
}

func (s *sight) comply(c *client.Compliance, newestFirst []index.Update, p segment) {
	covered := roaring.New() // devices for which a newer approved release stands
	for _, u := range newestFirst {
		status := s.Judged(u, p.group, s.now).Status
		if status == approval.Undefined {
			continue
		}
		apply := roaring.Or(u.Needs, u.Has)
		apply.And(p.devices)
		if status == approval.Declined {
			c.Risk += int(apply.GetCardinality())
			continue
		}
		apply.AndNot(covered)
		c.Approved += int(apply.GetCardinality())
		c.Installed += int(apply.AndCardinality(u.Has))
		covered.Or(apply)
	}
}

// totals counts what Status shows.
type totals struct {
	*sight
	devices     map[string]int
	updates     map[string]int
	queue       map[string]int
	blocked     map[string]int
	byCause     map[string]*roaring.Bitmap
	trouble     map[string][]string // what is wrong -> names of devices
	bySeverity  map[string]int      // undecided updates that are needed
	recalls     int                 // updates that their publishers took back
	undecided   []string            // security updates that nobody decided on
	changed     []string            // approved updates that have grown
	conflicts   []string
	recalled    []string       // revoked, but installed and not declined (A8)
	gates       map[string]int // server version that updates wait for -> how many (A6)
	agreements  []string       // updates that wait for agreements (A7)
	unreadable  []string
	refusedSets []string // content that the test devices refused (C6)
	halted      []string // rollouts that stopped (T6)
	standing    []string // rollouts that wait for a person
	rehearsal   client.RehearsalFigures
}

func (t *totals) countDevices() {
	t.devices = map[string]int{"active": 0, "connected": 0, "silent": 0, "quarantined": 0, "retired": 0, "restart": 0, "stale": 0}
	inside := t.Members(t.Tree().Subtree(t.group))
	for _, state := range deviceStates() {
		t.devices[string(state)] = int(inside.AndCardinality(t.InState(state)))
	}
	t.noteAll("quarantined", roaring.And(inside, t.InState(fleet.Quarantined)))
	active := roaring.And(inside, t.InState(fleet.Active))
	for _, what := range client.DeviceOnlies() {
		set := t.only(active, what)
		t.devices[string(what)] = int(set.GetCardinality())
		if what == client.OnlySilent || what == client.OnlyRestart {
			t.noteAll(string(what), set)
		}
	}
	for n := range numbers(active) {
		t.countActive(t.Brief(n))
	}
	for n := range numbers(t.sight.devices) {
		t.countLines(n)
	}
}

func (t *totals) note(what string, d index.Brief) {
	t.trouble[what] = append(t.trouble[what], d.Name())
}

func (t *totals) noteAll(what string, set *roaring.Bitmap) {
	for n := range numbers(set) {
		t.note(what, t.Brief(n))
	}
}

func (t *totals) countActive(d index.Brief) {
	if at := d.Refused(); !at.IsZero() && t.now.Sub(at) < refusedFor {
		t.note("refused", d)
	}
	if at := d.Illegal(); !at.IsZero() && t.now.Sub(at) < illegalFor {
		t.note("illegal", d)
	}
	facts := d.Facts()
	if facts == nil {
		return
	}
	for _, o := range facts.Origins {
		switch o.Problem {
		case "rolled_back", "expired", "bad_signature", "tampered":
			t.note("origin "+o.Problem, d)
		}
	}
	if facts.ManagerHealth != "" {
		t.note("manager", d)
	}
	if len(d.Problems()) > 0 {
		t.note("report", d)
	}
}

// countLines counts what is on its way on a device.
func (t *totals) countLines(device uint32) {
	enrolled := t.Brief(device).EnrolledAt()
	for _, l := range t.board.Lines(device) {
		state := string(l.State)
		if l.Overdue(t.now, enrolled) {
			state = overdue
		}
		if l.Action != plan.None || l.State != installation.Installed {
			t.queue[state]++
		}
		if l.State == installation.Blocked {
			cause := string(l.Cause)
			t.blocked[cause]++
			if t.byCause[cause] == nil {
				t.byCause[cause] = roaring.New()
			}
			t.byCause[cause].Add(device)
		}
	}
}

func (t *totals) countUpdates() {
	t.updates = map[string]int{"total": 0, "undefined": 0, "approved": 0, "declined": 0, "security_undecided": 0, "exploited_undecided": 0, "changed": 0, "gated": 0, "agreements": 0, "recalled_installed": 0}
	for u := range t.Updates() {
		t.updates["total"]++
		res := t.status(u)
		t.updates[string(res.Status)]++
		if grown(u, res) {
			t.updates["changed"]++
			t.changed = append(t.changed, title(u))
		}
		if res.Status == approval.Undefined && u.Needs.Intersects(t.sight.devices) {
			t.countUndecided(u)
		}
		if len(u.Conflicts()) > 0 {
			t.conflicts = append(t.conflicts, title(u))
		}
		if u.Published != nil {
			t.countPublished(u, res.Status)
		}
	}
}

// countUndecided counts an update that waits for a decision, unless a newer one took its place.
func (t *totals) countUndecided(u index.Update) {
	if _, superseded := t.superseded(u); superseded {
		return
	}
	t.bySeverity[string(cmp.Or(u.Severity, catalog.Unrated))]++
	if u.KnownExploited() {
		t.updates["exploited_undecided"]++
	}
	if u.Security {
		t.updates["security_undecided"]++
		t.undecided = append(t.undecided, title(u))
	}
}

// countPublished notes what a feed's release asks of the administrator.
func (t *totals) countPublished(u index.Update, status approval.Status) {
	least, held := gated(*u.Update, t.Version())
	switch {
	case u.Recalled():
		t.recalls++
		if status != approval.Declined && u.Has.Intersects(t.sight.devices) {
			t.updates["recalled_installed"]++
			t.recalled = append(t.recalled, fmt.Sprintf("%s (%s)", title(u), plural(int(t.count(u.Has)), "device", "devices")))
		}
	case status == approval.Declined:
	case held:
		if t.gates == nil {
			t.gates = map[string]int{}
		}
		t.gates[least]++
		t.updates["gated"]++
	case len(u.Published.Unknown) > 0:
		t.unreadable = append(t.unreadable, title(u))
	case status == approval.Approved && len(t.pending(u)) > 0:
		t.updates["agreements"]++
		t.agreements = append(t.agreements, title(u))
	}
	if c, ok := t.State().Contents[u.ID]; ok && !c.Passed {
		t.refusedSets = append(t.refusedSets, title(u))
	}
}

// attention says what needs the administrator, the gravest first.
func (t *totals) attention() []string {
	out := []string{}
	say := func(list []string, one, many string) {
		if n := len(list); n == 1 {
			out = append(out, fmt.Sprintf(one, list[0]))
		} else if n > 1 {
			out = append(out, fmt.Sprintf(many, n, some(list)))
		}
	}
	say(t.trouble["quarantined"], "The device %s is quarantined and gets nothing; look at it and release or retire it.", "%d devices are quarantined and get nothing (%s); look at them and release or retire them.")
	say(t.trouble["origin rolled_back"], "A package source of %s went back in time: somebody may be replaying old lists.", "Package sources of %d devices went back in time (%s): somebody may be replaying old lists.")
	say(t.trouble["origin tampered"], "A package source of %s was tampered with.", "Package sources of %d devices were tampered with (%s).")
	say(t.trouble["origin bad_signature"], "A package source of %s has a bad signature.", "Package sources of %d devices have a bad signature (%s).")
	out = append(out, t.attentionRollouts()...)
	say(t.recalled, "Its publisher recalled %s, and it is installed: decline it to take it back.", "%d releases were recalled by their publishers and are installed: %s; decline them to take them back.")
	for _, least := range slices.Sorted(maps.Keys(t.gates)) {
		out = append(out, fmt.Sprintf("%s for server %s or newer (this one is %s): upgrade the server.", plural(t.gates[least], "update waits", "updates wait"), least, t.Version()))
	}
	say(t.agreements, "%s is approved but waits for an agreement; see `assent update agreements`.", "%d approved updates wait for agreements (%s); see `assent update agreements`.")
	say(t.refusedSets, "The test devices refused the content %s: it stays in staging.", "The test devices refused %d content sets (%s): they stay in staging.")
	say(t.unreadable, "%s says something that this server cannot read, and is held; a newer server may.", "%d releases say something that this server cannot read (%s), and are held; a newer server may.")
	say(t.conflicts, "%s exists with different contents; one of them is not its publisher's.", "%d updates exist with different contents (%s); some are not their publisher's.")
	say(t.undecided, "The security update %s waits for a decision.", "%d security updates wait for a decision (%s).")
	say(t.changed, "%s has grown since it was approved; approve it again to cover the new files.", "%d approved updates have grown since (%s); approve them again to cover the new files.")
	out = append(out, t.attentionQueue()...)
	if r := t.rehearsal; r.Failures > 0 {
		out = append(out, fmt.Sprintf("%s would fail on %s in their next window; see `assent rehearsal list`.", plural(r.Updates, "update", "updates"), plural(r.Devices, "device", "devices")))
	}
	say(t.trouble["manager"], "The package manager of %s is broken.", "The package managers of %d devices are broken (%s).")
	say(t.trouble["silent"], "The device %s has been silent for long.", "%d devices have been silent for long (%s).")
	say(t.trouble["origin expired"], "A package source of %s has expired: it gets no new updates.", "Package sources of %d devices have expired (%s): they get no new updates.")
	say(t.trouble["restart"], "The device %s needs a restart.", "%d devices need a restart (%s).")
	say(t.trouble["refused"], "The device %s refused its plan and keeps to the last good one; see `assent event list --event plan_refused`.", "%d devices refused their plans and keep to the last good ones (%s); see `assent event list --event plan_refused`.")
	say(t.trouble["illegal"], "The device %s reported a step that cannot be; see `assent event list --event illegal_transition`.", "%d devices reported steps that cannot be (%s); see `assent event list --event illegal_transition`.")
	say(t.trouble["report"], "The device %s reported something that is not valid.", "%d devices reported something that is not valid (%s).")
	return out
}

// attentionQueue speaks of failed, overdue and blocked installs.
func (t *totals) attentionQueue() []string {
	var out []string
	if n := t.queue[string(installation.Failed)] + t.queue[string(installation.RemoveFailed)]; n > 0 {
		out = append(out, fmt.Sprintf("%s failed; see `assent queue list --state failed`.", plural(n, "install or rollback", "installs or rollbacks")))
	}
	if n := t.queue[overdue]; n > 0 {
		out = append(out, fmt.Sprintf("%s overdue; look at the devices.", plural(n, "install is", "installs are")))
	}
	for _, cause := range slices.Sorted(maps.Keys(t.blocked)) {
		devices := t.byCause[cause]
		var names []string
		for it := devices.Iterator(); it.HasNext() && len(names) <= maxSome; {
			names = append(names, t.Numbered(it.Next()).Name)
		}
		out = append(out, fmt.Sprintf("%s blocked on %s (%s): %s.", plural(t.blocked[cause], "install is", "installs are"),
			plural(int(devices.GetCardinality()), "device", "devices"), some(names), strings.ReplaceAll(cause, "_", " ")))
	}
	return out
}

// maxSome is how many names a sentence holds.
const maxSome = 3

// some names the first few.
func some(list []string) string {
	if len(list) <= maxSome {
		return strings.Join(list, ", ")
	}
	return strings.Join(list[:maxSome], ", ") + ", …"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
