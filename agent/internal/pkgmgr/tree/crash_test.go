package tree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
)

// TestMain lets this test binary be an agent that carries out one Want, to be killed in the middle of it.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ASSENT_TREE_WORLD"); dir != "" {
		if err := child(dir, os.Getenv("ASSENT_TREE_WANT")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if slices.ContainsFunc(os.Args, func(a string) bool {
		return strings.HasPrefix(a, "-test.fuzz") && !strings.HasPrefix(a, "-test.fuzzcachedir")
	}) {
		os.Exit(m.Run()) // whose workers are killed and could not tidy up
	}
	code, err := inMemory(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "these tests need root: ", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// inMemory runs the tests with their temporary directories in memory, where waiting for the disk costs nothing. What a
// power cut leaves is tested on file systems of their own.
func inMemory(run func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "tree")
	if err != nil {
		return 0, err
	}
	defer os.Remove(dir)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512m,mode=700"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, syscall.Unmount(dir, syscall.MNT_DETACH)) }()
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return 0, err
	}
	return run(), nil
}

func child(dir, want string) error {
	feed := published{dir: filepath.Join(os.Getenv("ASSENT_TREE_FEED")), opens: new(int)}
	t := New(Config{Root: filepath.Join(dir, "root"), StateDir: filepath.Join(dir, "state"), Payloads: feed, Platform: device, Spare: 1})
	w, err := wantOf(feed, want)
	if err != nil {
		return err
	}
	_, err = carryOut(t, w)
	return err
}

// wantOf reads "install 1.0", "back 1.0" or "remove 1.0".
func wantOf(p published, text string) (pkgmgr.Want, error) {
	verb, version, _ := strings.Cut(text, " ")
	for _, r := range p.Releases() {
		if r.Version != version {
			continue
		}
		it := r.For(device())[0]
		switch verb {
		case "install":
			return install(it), nil
		case "back":
			return back(it), nil
		case "remove":
			return remove(it), nil
		}
	}
	return pkgmgr.Want{}, fmt.Errorf("no such want: %s", text)
}

// crashBinary builds this test with its crash points armed.
func crashBinary(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "tree.test")
	cmd := exec.Command("go", "test", "-c", "-tags", "crashtest", "-o", bin, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// kill runs a Want in a process that dies at a point; reached is false if it did not come there.
func (w *world) kill(bin, dir, want string, at journal.Point, nth int) (reached bool) {
	w.Helper()
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), "ASSENT_TREE_WORLD="+dir, "ASSENT_TREE_FEED="+w.feed.dir, "ASSENT_TREE_WANT="+want, fmt.Sprintf("ASSENT_CRASH_AT=%s:%d", at, nth))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signal() != syscall.SIGKILL {
		w.Fatalf("%s at %s: %v\n%s", want, at, err, out)
	}
	return true
}

// scenario is a device with a past and what is to become of it.
type scenario struct {
	name   string
	before []string // versions that are installed first
	want   string
}

func scenarios() []scenario {
	return []scenario{
		{"first", nil, "install 4.0"},
		{"upgrade", []string{"1.0", "2.0", "3.0"}, "install 4.0"}, // with the oldest to be pruned
		{"back", []string{"1.0", "2.0", "3.0"}, "back 2.0"},
		{"back to a version that is not on disk", []string{"1.0", "2.0", "3.0", "4.0"}, "back 1.0"},
		{"remove", []string{"1.0", "2.0"}, "remove 2.0"},
	}
}

// prepare publishes the releases and installs a scenario's past.
func (w *world) prepare(s scenario) {
	w.Helper()
	items := map[string]catalog.Item{}
	for _, v := range []string{"1.0", "2.0", "3.0", "4.0"} {
		items[v] = w.release(v)
	}
	for _, v := range s.before {
		w.ok(install(items[v]))
	}
}

// recovered looks at a device after a crash: it has the old or the new version, whole and proved, and nothing is left over.
func (w *world) recovered(s scenario) {
	w.Helper()
	w.start()
	h, err := w.tree.Recover(w.Context())
	if err != nil || h.Broken != "" {
		w.Fatalf("recover: %+v, %v", h, err)
	}
	verb, target, _ := strings.Cut(s.want, " ")
	var may []string
	if len(s.before) > 0 {
		may = append(may, s.before[len(s.before)-1])
	}
	if verb != "remove" {
		may = append(may, target)
	}
	packages := w.scan().Inventory.Packages
	switch {
	case len(packages) == 0 && (verb == "remove" || len(s.before) == 0):
	case len(packages) != 1 || !slices.Contains(may, packages[0].Version) || packages[0].Status != whole || packages[0].How != howAssent:
		w.Fatalf("packages %+v, want one of %v", packages, may)
	default:
		want, err := wantOf(w.feed, "install "+packages[0].Version)
		w.must(err)
		w.there(want.Items[0])
	}
	if d, err := w.tree.Audit(w.Context()); err != nil || len(d) > 0 {
		w.Errorf("audit: %+v, %v", d, err)
	}
	w.tidy()
	want, err := wantOf(w.feed, s.want)
	w.must(err)
	if _, err := w.run(want); err != nil {
		w.Fatalf("once more: %v", err)
	}
	w.tidy()
	if verb != "remove" {
		w.there(want.Items[0])
	} else if got := w.scan().Inventory.Packages; len(got) != 0 {
		w.Errorf("after the removal: %+v", got)
	}
}

// tidy wants nothing on the device but what the record names.
func (w *world) tidy() {
	w.Helper()
	r, err := w.tree.load(key{"acme", "app", catalog.Tar})
	w.must(err)
	for _, dir := range w.onDisk() {
		if !r.names(dir) {
			w.Errorf("%s was left behind", dir)
		}
	}
	if len(w.onDisk()) > keep || len(r.Trash) > 0 || r.Step != nil {
		w.Errorf("on disk %v, record %+v", w.onDisk(), r)
	}
	lists, err := filepath.Glob(filepath.Join(w.state, "tree/manifests/*"))
	if err != nil || len(lists) != len(w.onDisk()) {
		w.Errorf("lists of files %v, %v", lists, err)
	}
}

func TestN46_KilledAtEachStepTheOldOrTheNewVersionIsThereWhole(t *testing.T) {
	bin := crashBinary(t)
	reached := map[journal.Point]int{}
	for _, s := range scenarios() {
		for _, p := range points() {
			for _, nth := range []int{1, 2, 4} {
				w := newWorld(t, t.TempDir())
				dir := filepath.Dir(w.root)
				w.prepare(s)
				if !w.kill(bin, dir, s.want, p, nth) {
					break
				}
				reached[p]++
				t.Run(fmt.Sprintf("%s/%s:%d", s.name, p, nth), func(t *testing.T) {
					w.T = t
					w.recovered(s)
				})
			}
		}
	}
	for _, p := range points() {
		if reached[p] == 0 {
			t.Errorf("%s is never reached: either the point is gone or this test does not lead there", p)
		}
	}
}

// TestN48_PowerCutAtEachStepLeavesTheOldOrTheNewVersionWhole kills the agent on a file system of its own and goes on with what is on
// its disk at that moment: everything that was only in memory is lost, as in a power cut.
func TestN48_PowerCutAtEachStepLeavesTheOldOrTheNewVersionWhole(t *testing.T) {
	bin := crashBinary(t)
	cuts := 0
	const none journal.Point = "none"
	for _, s := range scenarios() {
		for _, p := range append(points()[2:], none) { // with the first two nothing is switched yet
			t.Run(s.name+"/"+string(p), func(t *testing.T) {
				dir := t.TempDir()
				disk := newDisk(t, filepath.Join(dir, "disk"))
				unmount := disk.mount(t, filepath.Join(dir, "before"))
				w := newWorld(t, filepath.Join(dir, "before"))
				w.prepare(s)
				syscall.Sync()
				dead := w.kill(bin, filepath.Join(dir, "before"), s.want, p, 1)
				if !dead && p != none {
					unmount()
					return
				}
				cuts++
				after := disk.copy(t, filepath.Join(dir, "disk.after"))
				unmount()
				defer after.mount(t, filepath.Join(dir, "after"))()
				w.root, w.state = filepath.Join(dir, "after", "root"), filepath.Join(dir, "after", "state")
				w.start()
				if verb, version, _ := strings.Cut(s.want, " "); !dead && verb != "remove" {
					w.runs(version) // what was reported as done is done
				}
				w.recovered(s)
			})
		}
	}
	if cuts < 20 {
		t.Errorf("only %d power cuts", cuts)
	}
}

// disk is a file with a file system.
type disk string

func newDisk(t *testing.T, path string) disk {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(16<<20), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return disk(path)
}

func (d disk) mount(t *testing.T, at string) (unmount func()) {
	t.Helper()
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", string(d), at).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// copy is the disk as it is now, without what only the memory knows.
func (d disk) copy(t *testing.T, to string) disk {
	t.Helper()
	in, err := os.Open(string(d))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return disk(to)
}
