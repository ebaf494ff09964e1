package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// simFile is one file of the simulated repository.
type simFile struct {
	catalog.Item
	Source, SrcVer, Space string
	Needs                 []string // "name=version" that must be installed or come along
	Removes               string   // a package that has to go
	Fails                 bool     // its maintainer script fails
	Sticks                bool     // its removal fails
	Missing               bool     // the repository lists it but cannot deliver it
	Restart               bool     // asks for a restart
	Conffile              string   // kept as the administrator had it
}

type simPackage struct {
	Version, Status, Source, SrcVer, How string
}

// simWorld is the state of the simulated device that outlives the agent.
type simWorld struct {
	Installed  map[string]simPackage // by name:arch
	Pool       []simFile
	Cached     map[string]bool
	Executions []string // every unpacking, in order
	Air        []wire.Change
	Fenced     *wire.Plan
	Restart    []string
	Remembered []string
	Refreshes  int
	Sick       map[string]string // why the health probe of a release does not pass, by its name
	Probes     int
}

// simManager behaves like a package manager on a device with one architecture. Its world is on disk, so it survives the
// agent's death as a real one does: a transaction that was begun is finished by whoever looks next, as the detached
// process would have done meanwhile.
type simManager struct {
	path string
	side bool // it is the manager of what is installed beside the packages
	mu   sync.Mutex
	last *pkgmgr.Snapshot

	// What tests may set before use.
	beforeFetch func(context.Context) error
	beforeApply func()
	duringApply func()
	remembering func()
	applied     func([]wire.Change) // called when a transaction begins to change something
	scanErr     error
	busy        string // who holds the lock
	holder      string // when nothing is asked of it
	refreshErr  error
	origins     []wire.OriginHealth
	fenceErr    error
	simulations int
}

func newSim(t *testing.T, w simWorld) *simManager {
	t.Helper()
	m := &simManager{path: filepath.Join(t.TempDir(), "world.json")}
	m.change(func(old *simWorld) { *old = w })
	return m
}

// set changes how the package manager behaves while the agent runs.
func (m *simManager) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// now reads one of those settings.
func now[T any](m *simManager, v *T) T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *v
}

func (m *simManager) read() simWorld {
	w := simWorld{Installed: map[string]simPackage{}, Cached: map[string]bool{}}
	if b, err := os.ReadFile(m.path); err == nil {
		if err := json.Unmarshal(b, &w); err != nil {
			panic(err)
		}
	}
	if w.Cached == nil {
		w.Cached = map[string]bool{}
	}
	return w
}

func (m *simManager) world() simWorld {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.read()
}

func (m *simManager) change(f func(*simWorld)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.read()
	f(&w)
	b, err := json.Marshal(w)
	if err == nil {
		err = os.WriteFile(m.path+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(m.path+".new", m.path)
	}
	if err != nil {
		panic(err)
	}
}

func (w simWorld) find(it catalog.Item) (simFile, bool) {
	i := slices.IndexFunc(w.Pool, func(f simFile) bool { return f.Key() == it.Key() })
	if i < 0 {
		return simFile{}, false
	}
	return w.Pool[i], true
}

func (w simWorld) broken() string {
	for name, p := range w.Installed {
		if p.Status != "ii" {
			return name + " is only half installed (" + p.Status + ")"
		}
	}
	return ""
}

func (m *simManager) Scan(context.Context) (*pkgmgr.Snapshot, error) {
	if err := now(m, &m.scanErr); err != nil {
		return nil, err
	}
	w := m.world()
	w.Executions, w.Cached, w.Fenced, w.Remembered, w.Sick, w.Probes = nil, nil, nil, nil, nil, 0
	ecosystem := "deb"
	if m.side {
		ecosystem = catalog.Generic
	}
	_, stamp, err := wire.Encode(w)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last != nil && m.last.Stamp == stamp {
		return m.last, nil
	}
	s := &pkgmgr.Snapshot{Stamp: stamp, Restart: w.Restart, Health: pkgmgr.Health{Broken: w.broken()},
		Inventory: wire.Inventory{Ecosystem: ecosystem}, Available: wire.Available{Ecosystem: ecosystem}}
	for key, p := range w.Installed {
		name, arch, _ := strings.Cut(key, ":")
		s.Inventory.Packages = append(s.Inventory.Packages, wire.Package{Name: name, Arch: arch, Version: p.Version, Status: p.Status, Source: p.Source, SourceVersion: p.SrcVer, How: p.How})
	}
	slices.SortFunc(s.Inventory.Packages, func(a, b wire.Package) int { return cmp.Compare(a.Name, b.Name) })
	for _, f := range w.Pool {
		if p, ok := w.Installed[f.Name+":"+f.Arch]; ok && p.Version < f.Version {
			s.Available.Updates = append(s.Available.Updates, wire.Offer{Namespace: f.Space, Name: f.Source, Version: f.SrcVer,
				Items: []wire.OfferItem{{Item: f.Item, Installed: p.Version}}, Closure: []wire.Change{}})
		}
	}
	m.last = s
	return s, nil
}

func (m *simManager) Close(_ context.Context, s *pkgmgr.Snapshot) (wire.Available, error) {
	return s.Available, nil
}

func (m *simManager) Refresh(context.Context) ([]wire.OriginHealth, error) {
	m.change(func(w *simWorld) { w.Refreshes++ })
	return m.origins, now(m, &m.refreshErr)
}

func (m *simManager) Simulate(_ context.Context, want pkgmgr.Want) (pkgmgr.Transaction, error) {
	m.mu.Lock()
	m.simulations++
	m.mu.Unlock()
	w := m.world()
	tx := pkgmgr.Transaction{Want: want}
	if busy := now(m, &m.busy); busy != "" {
		return tx, &pkgmgr.Refusal{Cause: installation.ManagerBusy, Detail: "locked by " + busy}
	}
	for _, it := range slices.Concat(want.Items, want.Remove, want.Extras) {
		if it.Format.Side() != m.side {
			panic(it.Key() + " came to the wrong manager")
		}
	}
	if len(want.Remove) > 0 {
		return m.simulateRemoval(w, tx)
	}
	coming := map[string]string{}
	for _, it := range slices.Concat(want.Items, want.Extras) {
		coming[it.Name] = it.Version
	}
	outside := &pkgmgr.Refusal{Cause: installation.UnapprovedDependency, Detail: "something else would have to come along"}
	for _, it := range want.Items {
		f, ok := w.find(it)
		if !ok {
			return tx, &pkgmgr.Refusal{Cause: installation.ContentUnavailable, Detail: it.Key() + " is in no repository"}
		}
		if f.SHA256 != it.SHA256 {
			return tx, &pkgmgr.Refusal{Cause: installation.DigestMismatch, Detail: it.Key() + " has another content", Changes: []wire.Change{{Op: wire.OpUpgrade, Name: it.Name, Arch: it.Arch, Version: it.Version}}}
		}
		if gone := w.Installed[f.Removes+":amd64"]; gone.Version != "" && slices.Contains(want.Removable, f.Removes) {
			tx.Changes = append(tx.Changes, wire.Change{Op: wire.OpRemove, Name: f.Removes, Arch: "amd64", From: gone.Version})
		} else if gone.Version != "" {
			return tx, &pkgmgr.Refusal{Cause: installation.RemovalNeeded, Detail: f.Removes + " would be removed", Changes: []wire.Change{{Op: wire.OpRemove, Name: f.Removes, Arch: "amd64"}}}
		}
		have := w.Installed[it.Name+":"+it.Arch].Version
		if have > it.Version && !want.Downgrade {
			return tx, &pkgmgr.Refusal{Cause: installation.DowngradeNeeded, Detail: it.Key() + " is older than what is there"}
		}
		for _, need := range f.Needs {
			name, version, _ := strings.Cut(need, "=")
			if w.Installed[name+":amd64"].Version >= version || coming[name] >= version {
				continue
			}
			i := slices.IndexFunc(w.Pool, func(f simFile) bool { return f.Name == name && f.Version >= version })
			if i < 0 {
				return tx, &pkgmgr.Refusal{Cause: installation.Unresolvable, Detail: it.Key() + " depends on " + need}
			}
			d := w.Pool[i]
			outside.Changes = append(outside.Changes, wire.Change{Op: wire.OpInstall, Name: d.Name, Arch: d.Arch, Version: d.Version, Source: d.Source, SrcVer: d.SrcVer, Space: d.Space})
		}
		if have != it.Version {
			op := wire.OpUpgrade
			if have == "" {
				op = wire.OpInstall
			}
			tx.Changes = append(tx.Changes, wire.Change{Op: op, Name: it.Name, Arch: it.Arch, Version: it.Version, From: have, SHA256: it.SHA256, Size: it.Size, Source: f.Source, SrcVer: f.SrcVer, Space: f.Space})
		}
	}
	if len(outside.Changes) > 0 {
		return tx, outside
	}
	for _, it := range want.Extras {
		needed := slices.ContainsFunc(want.Items, func(i catalog.Item) bool {
			f, _ := w.find(i)
			return slices.ContainsFunc(f.Needs, func(n string) bool { return strings.HasPrefix(n, it.Name+"=") })
		})
		if needed && w.Installed[it.Name+":"+it.Arch].Version == "" {
			tx.Changes = append(tx.Changes, wire.Change{Op: wire.OpInstall, Name: it.Name, Arch: it.Arch, Version: it.Version, SHA256: it.SHA256})
		}
	}
	return tx, nil
}

// simulateRemoval is Simulate for what is to go. Nothing else goes with it.
func (m *simManager) simulateRemoval(w simWorld, tx pkgmgr.Transaction) (pkgmgr.Transaction, error) {
	if len(tx.Want.Items) > 0 {
		panic("installs and removals in one transaction")
	}
	going := func(name string) bool {
		return slices.ContainsFunc(tx.Want.Remove, func(it catalog.Item) bool { return it.Name == name })
	}
	refusal := &pkgmgr.Refusal{Cause: installation.RemovalNeeded, Detail: "something else would have to go with it"}
	for _, it := range tx.Want.Remove {
		p := w.Installed[it.Name+":"+it.Arch]
		if p.Version != it.Version {
			return tx, fmt.Errorf("%s is to be removed, and %q is there", it.Key(), p.Version)
		}
		for key, other := range w.Installed {
			name, arch, _ := strings.Cut(key, ":")
			f, _ := w.find(catalog.Item{Name: name, Arch: arch, Version: other.Version})
			if !going(name) && slices.ContainsFunc(f.Needs, func(n string) bool { return strings.HasPrefix(n, it.Name+"=") }) {
				refusal.Changes = append(refusal.Changes, wire.Change{Op: wire.OpRemove, Name: name, Arch: arch, From: other.Version})
			}
		}
		tx.Changes = append(tx.Changes, wire.Change{Op: wire.OpRemove, Name: it.Name, Arch: it.Arch, From: it.Version, Source: p.Source, SrcVer: p.SrcVer})
	}
	if len(refusal.Changes) > 0 {
		return tx, refusal
	}
	return tx, nil
}

func (m *simManager) Fetch(ctx context.Context, tx pkgmgr.Transaction, _ func(pkgmgr.Progress)) error {
	if m.beforeFetch != nil {
		if err := m.beforeFetch(ctx); err != nil {
			return err
		}
	}
	w := m.world()
	for _, c := range tx.Changes {
		if f, _ := w.find(catalog.Item{Name: c.Name, Arch: c.Arch, Version: c.Version}); f.Missing {
			return fmt.Errorf("download %s: the repository answers 404", f.Key())
		}
	}
	m.change(func(w *simWorld) {
		for _, c := range tx.Changes {
			w.Cached[c.SHA256] = true
		}
	})
	return nil
}

func (m *simManager) Apply(_ context.Context, tx pkgmgr.Transaction, _ func(pkgmgr.Progress)) (pkgmgr.Outcome, error) {
	out := pkgmgr.Outcome{Started: time.Now()}
	w := m.world()
	for _, c := range tx.Changes {
		if c.Op != wire.OpRemove && !w.Cached[c.SHA256] {
			return out, fmt.Errorf("%s was not fetched", c.Name)
		}
	}
	if tx.ID == "" || len(w.Air) > 0 {
		return out, errors.New("the transaction has no id, or another one is running")
	}
	if m.beforeApply != nil {
		m.beforeApply()
	}
	simCrash("apply_starting")
	m.change(func(w *simWorld) { w.Air = tx.Changes })
	simCrash("apply_begun")
	if m.applied != nil {
		m.applied(tx.Changes)
	}
	if m.duringApply != nil {
		m.duringApply()
	}
	for m.step(&out) {
		simCrash("apply_half")
	}
	out.Finished = time.Now()
	return out, nil
}

// step carries out one change of the transaction in the air.
func (m *simManager) step(out *pkgmgr.Outcome) (more bool) {
	m.change(func(w *simWorld) {
		if len(w.Air) == 0 {
			return
		}
		c := w.Air[0]
		w.Air = w.Air[1:]
		more = len(w.Air) > 0
		if c.Op == wire.OpRemove {
			w.Executions = append(w.Executions, "-"+c.Name+":"+c.Arch+"="+c.From)
			if f, _ := w.find(catalog.Item{Name: c.Name, Arch: c.Arch, Version: c.From}); f.Sticks {
				out.ExitCode = 100
				out.Errors = append(out.Errors, "pre-removal script of "+c.Name+" failed")
				return
			}
			delete(w.Installed, c.Name+":"+c.Arch)
			return
		}
		f, _ := w.find(catalog.Item{Name: c.Name, Arch: c.Arch, Version: c.Version})
		p := simPackage{Version: c.Version, Status: "ii", Source: f.Source, SrcVer: f.SrcVer, How: "assent"}
		if f.Fails {
			p.Status = "iF"
			out.ExitCode = 100
			out.Errors = append(out.Errors, "post-installation script of "+c.Name+" failed")
		}
		if f.Restart {
			w.Restart = append(w.Restart, c.Name)
		}
		if f.Conffile != "" {
			out.Conffiles = append(out.Conffiles, f.Conffile)
		}
		w.Installed[c.Name+":"+c.Arch] = p
		w.Executions = append(w.Executions, c.Name+":"+c.Arch+"="+c.Version)
	})
	return more
}

// simCrash kills the process inside the package manager's own run.
func simCrash(at string) {
	if os.Getenv("ASSENT_SIM_CRASH_AT") == at {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (m *simManager) Recover(context.Context) (pkgmgr.Health, error) {
	var out pkgmgr.Outcome
	for m.step(&out) {
	}
	return pkgmgr.Health{Broken: m.world().broken()}, nil
}

func (m *simManager) Verify(_ context.Context, items []catalog.Item) ([]wire.ProofItem, pkgmgr.Health, error) {
	w := m.world()
	var out []wire.ProofItem
	for _, it := range items {
		p := w.Installed[it.Name+":"+it.Arch]
		out = append(out, wire.ProofItem{Name: it.Name, Arch: it.Arch, Version: p.Version, Status: p.Status})
	}
	return out, pkgmgr.Health{Broken: w.broken(), Holder: now(m, &m.holder)}, nil
}

func (m *simManager) Fence(_ context.Context, plan wire.Plan) error {
	if err := now(m, &m.fenceErr); err != nil {
		return err
	}
	m.change(func(w *simWorld) { w.Fenced = &plan })
	return nil
}

func (m *simManager) Unfence(context.Context) error {
	m.change(func(w *simWorld) { w.Fenced = nil })
	return nil
}

func (m *simManager) Remember(_ context.Context, update catalog.UpdateID, changes []wire.Change) error {
	if m.remembering != nil {
		m.remembering()
	}
	m.change(func(w *simWorld) {
		for _, c := range changes {
			w.Remembered = append(w.Remembered, fmt.Sprintf("%s %s %s", update, c.Name, c.From))
		}
	})
	return nil
}

// probe is the health of what is installed.
func (m *simManager) probe(_ context.Context, release catalog.Release, _ catalog.Format, _ catalog.Probe) error {
	m.change(func(w *simWorld) { w.Probes++ })
	if why := m.world().Sick[release.Name]; why != "" {
		return errors.New(why)
	}
	return nil
}

// treeFile makes a file of the simulated repository that is installed beside the packages.
func treeFile(name, version string) simFile {
	f := file(name, version)
	f.Format, f.Space = catalog.Tar, "feed.acme"
	return f
}

// file makes a file of the simulated repository whose source package has its name.
func file(name, version string) simFile {
	return simFile{Item: catalog.Item{Name: name, Arch: "amd64", Version: version, Size: 1000, SHA256: wire.Digest([]byte(name + version))},
		Source: name, SrcVer: version, Space: "acme"}
}

func (f simFile) release() catalog.Release {
	ecosystem := "deb"
	if f.Format.Side() {
		ecosystem = catalog.Generic
	}
	return catalog.Release{Software: catalog.Software{Ecosystem: ecosystem, Namespace: f.Space, Name: f.Source}, Version: f.SrcVer}
}

func (f simFile) install() wire.PlanInstall {
	return wire.PlanInstall{Update: f.release().ID(), Release: f.release(), Items: []catalog.Item{f.Item}}
}

// removal orders what is installed of it off the device.
func (f simFile) removal(act int64) wire.PlanRemove {
	return wire.PlanRemove{Act: act, Update: f.release().ID(), Items: []catalog.Item{f.Item}}
}

// stepBack orders an earlier file back in the place of f.
func (f simFile) stepBack(act int64, to simFile) wire.PlanRollback {
	return wire.PlanRollback{Act: act, Update: f.release().ID(), Items: []wire.RestoreItem{{Update: f.release().ID(), Name: to.Name, Arch: to.Arch, Version: to.Version,
		Current: f.Version, SHA256: to.SHA256, Size: to.Size, From: "repository", Format: to.Format}}}
}

// device is a world with packages at a version.
func deviceWith(version string, names ...string) simWorld {
	w := simWorld{Installed: map[string]simPackage{}}
	for _, n := range names {
		w.Installed[n+":amd64"] = simPackage{Version: version, Status: "ii", Source: n, SrcVer: version, How: "image"}
	}
	return w
}
