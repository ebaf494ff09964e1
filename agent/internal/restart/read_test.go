package restart

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"assent/agent/internal/command"
	"assent/wire"
)

func TestTheNewestKernelOfTheRunningKindIsWanted(t *testing.T) {
	const uname = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.27-1 (2023-05-08)"
	for name, c := range map[string]struct {
		k    Kernels
		want string // what is to run; empty: nothing asks for a restart
	}{
		"the same":                   {Kernels{Running: "6.1.0-9-amd64", Installed: []string{"6.1.0-9-amd64"}}, ""},
		"a newer one":                {Kernels{Running: "6.1.0-9-amd64", Installed: []string{"6.1.0-9-amd64", "6.1.0-13-amd64", "6.1.0-10-amd64"}}, "6.1.0-13-amd64"},
		"another kind":               {Kernels{Running: "6.1.0-9-amd64", Installed: []string{"6.1.0-9-amd64", "6.1.0-13-cloud-amd64", "6.1.0-13-rt-amd64"}}, ""},
		"trixie":                     {Kernels{Running: "6.12.38+deb13-cloud-amd64", Installed: []string{"6.12.41+deb13-cloud-amd64", "6.12.99+deb13-amd64"}}, "6.12.41+deb13-cloud-amd64"},
		"an older one":               {Kernels{Running: "6.1.0-13-amd64", Installed: []string{"6.1.0-9-amd64"}}, ""},
		"rpm":                        {Kernels{Running: "5.14.0-362.8.1.el9_3.x86_64", Installed: []string{"5.14.0-362.8.1.el9_3.x86_64", "5.14.0-427.13.1.el9_4.x86_64"}}, "5.14.0-427.13.1.el9_4.x86_64"},
		"rpm, another distribution":  {Kernels{Running: "6.5.6-300.fc39.x86_64", Installed: []string{"6.5.6-300.fc39.x86_64", "6.8.5-301.fc40.x86_64"}}, "6.8.5-301.fc40.x86_64"},
		"rpm, real time":             {Kernels{Running: "5.14.0-362.8.1.el9_3.x86_64", Installed: []string{"5.14.0-427.13.1.el9_4.x86_64+rt", "5.14.0-427.13.1.el9_4.aarch64"}}, ""},
		"none installed":             {Kernels{Running: "6.1.0-9-amd64"}, ""},
		"nothing known":              {Kernels{Installed: []string{"6.1.0-9-amd64"}}, ""},
		"rubbish":                    {Kernels{Running: "6.1.0-9-amd64", Installed: []string{"../../x-amd64", "old-amd64", "9\x1b-amd64"}}, ""},
		"rebuilt under its name":     {Kernels{Running: "6.1.0-9-amd64", Installed: []string{"6.1.0-9-amd64"}, Build: uname, Package: "6.1.27-2"}, "6.1.0-9-amd64 6.1.27-2"},
		"not rebuilt":                {Kernels{Running: "6.1.0-9-amd64", Installed: []string{"6.1.0-9-amd64"}, Build: uname, Package: "6.1.27-1+b1"}, ""},
		"not Debian's":               {Kernels{Running: "6.1.0-9-amd64", Installed: []string{"6.1.0-9-amd64"}, Build: "#1 SMP by me", Package: "6.1.27-2"}, ""},
		"rebuilt, another one's too": {Kernels{Running: "6.1.0-9-amd64", Installed: []string{"6.1.0-9-amd64", "6.1.0-10-amd64"}, Build: uname, Package: "6.1.27-2"}, "6.1.0-10-amd64"},
	} {
		t.Run(name, func(t *testing.T) {
			r, stale := c.k.Stale()
			if got := c.k.Wants(); got != c.want || stale != (c.want != "") {
				t.Fatalf("wants %q, want %q; stale %v", got, c.want, stale)
			}
			if stale && (r.Name != "kernel" || r.Kind != wire.StaleKernel || !strings.HasSuffix(r.Detail, ".")) {
				t.Errorf("%+v", r)
			}
			if stale == c.k.Runs(c.want) {
				t.Errorf("it runs already: %v", !stale)
			}
		})
	}
	if k := (Kernels{Running: "6.1.0-9-amd64", Build: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.27-2 (2023-05-08)"}); !k.Runs("6.1.0-9-amd64 6.1.27-2") || k.Runs("6.1.0-9-amd64 6.1.27-3") || !k.Runs("6.1.0-8-amd64") || k.Runs("6.1.0-10-amd64") {
		t.Error("what came up is judged wrongly")
	}
}

const maps = `55d0-55d1 r-xp 00001000 fe:01 11   /usr/sbin/nginx
7f10-7f11 r--p 00000000 fe:01 12   /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)
7f11-7f12 r-xp 00001000 fe:01 12   /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)
7f12-7f13 r--p 00000000 fe:01 13   /usr/lib/locale/C.utf8 (deleted)
7f13-7f14 rwxs 00000000 00:01 14   /dev/zero (deleted)
7f14-7f15 r-xp 00000000 00:01 15   /memfd:jit (deleted)
7f15-7f16 r-xp 00000000 fe:01 16   /tmp/evil (deleted)
7f16-7f17 r-xp 00000000 fe:01 17   /usr/../etc/shadow (deleted)
7f17-7f18 r-xp 00000000 fe:01 18   /opt/a b/lib.so (deleted)
7f18-7f19 r-xp 00000000 00:00 0    [vdso]
7f19-7f20 r-xp
rubbish
`

func TestOnlySoftwareThatRunsAndIsGoneCounts(t *testing.T) {
	p := Process{Exe: "/usr/sbin/nginx (deleted)", Maps: []byte(maps)}
	if diff := cmp.Diff([]string{"/opt/a b/lib.so", "/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/sbin/nginx"}, p.Deleted()); diff != "" {
		t.Error(diff)
	}
	if got := (Process{Exe: "/usr/bin/x", Maps: []byte("7f12-7f13 r-xp 00000000 fe:01 13   /usr/lib/y.so\n")}).Deleted(); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestEachProcessIsOfOneUnitOrSession(t *testing.T) {
	for groups, want := range map[string]Owner{
		"0::/system.slice/nginx.service\n":                                          {Unit: "nginx.service"},
		"0::/system.slice/nginx.service/worker\n":                                   {Unit: "nginx.service"},
		"0::/system.slice/system-getty.slice/getty@tty1.service\n":                  {Unit: "getty@tty1.service"},
		"12:pids:/x\n1:name=systemd:/system.slice/cron.service\n0::/\n":             {Unit: "cron.service"},
		"1:name=systemd:/init.scope\n0::/init.scope\n":                              {Init: true},
		"0::/user.slice/user-1000.slice/session-3.scope\n":                          {User: "1000"},
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/dbus.service\n": {User: "1000"},
		"0::/user.slice/user-x.slice/session-3.scope\n":                             {},
		"0::/system.slice/docker-0123.scope/system.slice/nginx.service\n":           {},
		"0::/machine.slice/machine-x.scope/payload/system.slice/ssh.service\n":      {},
		"0::/system.slice/-rf.service\n":                                            {},
		"0::/system.slice/a\x1bb.service\n":                                         {},
		"0::/\n":                                                                    {},
		"":                                                                          {},
	} {
		if got := (Process{Groups: []byte(groups)}).Owner(); got != want {
			t.Errorf("%q: %+v, want %+v", groups, got, want)
		}
	}
}

func TestReasonsNameUnitsAndFilesAndNothingThatChangesByItself(t *testing.T) {
	gone := func(group string, files ...string) Process {
		p := Process{Groups: []byte("0::" + group + "\n")}
		for _, f := range files {
			p.Maps = append(p.Maps, []byte("7f10-7f11 r-xp 00000000 fe:01 12   "+f+" (deleted)\n")...)
		}
		return p
	}
	got := Stale([]Process{
		gone("/system.slice/nginx.service", "/usr/lib/b.so", "/usr/lib/a.so"), gone("/system.slice/nginx.service", "/usr/lib/c.so", "/usr/lib/d.so", "/usr/lib/a.so"),
		gone("/system.slice/dbus.service", "/usr/lib/a.so"), gone("/init.scope", "/usr/lib/a.so"), gone("/user.slice/user-7.slice/session-1.scope", "/usr/bin/x"), gone("/x", "/usr/bin/x"),
		gone("/system.slice/quiet.service"),
	})
	want := []wire.RestartReason{
		{Kind: wire.StaleCore, Name: "dbus.service", Detail: "It still runs /usr/lib/a.so from before an update. Everything talks through it. Only a restart of the device ends that."},
		{Kind: wire.StaleCore, Name: "init", Detail: "It still runs /usr/lib/a.so from before an update. It is the init of the device. Only a restart of the device ends that."},
		{Kind: wire.StaleService, Name: "nginx.service", Detail: "It still runs /usr/lib/a.so, /usr/lib/b.so, /usr/lib/c.so and 1 more from before an update."},
		{Kind: wire.StaleSession, Name: "processes of no unit", Detail: "It still runs /usr/bin/x from before an update."},
		{Kind: wire.StaleSession, Name: "user 7", Detail: "It still runs /usr/bin/x from before an update."},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(Device(got)) != 0 || !cmp.Equal(Units(got), []string{"nginx.service"}) {
		t.Errorf("%v %v", Device(got), Units(got))
	}
}

func TestWhatCouldCutPeopleOffIsSpared(t *testing.T) {
	for _, unit := range []string{"dbus.service", "systemd-logind.service", "getty@tty1.service", "user@1000.service", "assent-agent.service", "assent-transaction-x.service", "gdm3.service",
		"NetworkManager.service", "docker.service", "", "-x.service", "a b.service", "x.socket", "x\n.service"} {
		if Spared(unit) == "" {
			t.Errorf("%q would be restarted", unit)
		}
	}
	for _, unit := range []string{"nginx.service", "postgresql@15-main.service", "cron.service", "ssh.service", "dbus2.service", "userd.service", "networking2.service", `a\x2db.service`} {
		if why := Spared(unit); why != "" {
			t.Errorf("%q is spared: %s", unit, why)
		}
	}
}

// fakeDevice is a root with files and links; a value that begins with "->" is a link.
func fakeDevice(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, link := strings.CutPrefix(text, "->"); err == nil && link {
			err = os.Symlink(target, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestALookReadsKernelsAndProcessesOfThisDeviceOnly(t *testing.T) {
	files := map[string]string{
		"proc/sys/kernel/osrelease": "6.1.0-9-amd64\n", "proc/sys/kernel/version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.27-1 (2023-05-08)\n",
		"boot/vmlinuz-6.1.0-9-amd64": "", "boot/vmlinuz-6.1.0-10-amd64": "", "usr/lib/modules/6.1.0-11-amd64/vmlinuz": "", "usr/lib/modules/6.1.0-99-amd64/kernel": "", "boot/vmlinuz-old": "",
		"var/lib/dpkg/status": "Package: linux-image-6.1.0-9-amd64\nStatus: deinstall ok config-files\nVersion: 9\n\nPackage: linux-image-6.1.0-9-amd64\nStatus: install ok installed\nArchitecture: amd64\nVersion: 6.1.27-1\n",
		"proc/self/ns/pid":    "->pid:[1]", "proc/cpuinfo": "",
	}
	process := func(pid, ns, group string) {
		files["proc/"+pid+"/exe"], files["proc/"+pid+"/maps"] = "->/usr/sbin/x", maps
		files["proc/"+pid+"/ns/pid"], files["proc/"+pid+"/cgroup"] = "->"+ns, "0::"+group+"\n"
	}
	process("11", "pid:[1]", "/system.slice/nginx.service")
	process("12", "pid:[2]", "/system.slice/elsewhere.service")
	files["proc/13/maps"] = maps // ends while it is looked at
	root := fakeDevice(t, files)
	got, err := Host{Root: root}.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []wire.RestartReason{{Kind: wire.StaleKernel, Name: "kernel", Detail: "The kernel 6.1.0-11-amd64 is installed, and 6.1.0-9-amd64 runs."},
		{Kind: wire.StaleService, Name: "nginx.service", Detail: "It still runs /opt/a b/lib.so, /usr/lib/x86_64-linux-gnu/libssl.so.3 from before an update."}}
	if diff := cmp.Diff(want, got.Reasons); diff != "" {
		t.Error(diff)
	}
	if got.Kernels.Package != "6.1.27-1" {
		t.Errorf("%+v", got.Kernels)
	}
	if err := os.MkdirAll(filepath.Join(root, "run/systemd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "run/systemd/container"), []byte("lxc"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err = (Host{Root: root}).Look(t.Context()); err != nil || len(Device(got.Reasons)) != 0 {
		t.Errorf("a container asks for another kernel: %+v, %v", got, err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Host{Root: root}).Look(stopped); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := (Host{Root: t.TempDir()}).Look(t.Context()); err == nil {
		t.Error("a device without processes was looked at")
	}
}

// scripted answers each program's call with what is written for its first argument.
type scripted struct {
	t       *testing.T
	answers map[string]command.Result
	calls   []string
}

func (s *scripted) Run(_ context.Context, c command.Call) (command.Result, error) {
	line := string(c.Tool) + " " + strings.Join(c.Args, " ")
	s.calls = append(s.calls, line)
	if c.Deadline <= 0 || c.Limit <= 0 {
		s.t.Errorf("%s has no deadline or no limit", line)
	}
	for prefix, r := range s.answers {
		if strings.HasPrefix(line, prefix) {
			return r, nil
		}
	}
	s.t.Errorf("unexpected call: %s", line)
	return command.Result{Code: 1}, nil
}

const show = `Id=nginx.service
ActiveState=active
SubState=running
LoadState=loaded
UnitFileState=enabled
ExecStart={ path=/opt/assent/acme/web/current/bin/web ; argv[]=/opt/assent/acme/web/current/bin/web ; ignore_errors=no }
MainPID=11
ActiveEnterTimestampMonotonic=5

Id=dead.service
ActiveState=failed
SubState=failed
LoadState=loaded
ActiveEnterTimestampMonotonic=5

Id=never.service
ActiveState=inactive
LoadState=loaded
InactiveEnterTimestampMonotonic=0
ConditionTimestampMonotonic=0
ConditionResult=no

Id=skipped.service
ActiveState=inactive
LoadState=loaded
InactiveEnterTimestampMonotonic=0
ConditionTimestampMonotonic=77
ConditionResult=no

Id=ended.service
ActiveState=inactive
LoadState=loaded
InactiveEnterTimestampMonotonic=9

Id=gone.service
ActiveState=inactive
LoadState=not-found

Id=static.service
ActiveState=active
SubState=running
LoadState=loaded
UnitFileState=static
MainPID=12

Id=dbus.service
ActiveState=active
SubState=running
UnitFileState=enabled
MainPID=13
`

func TestServicesAreReadFromWhatSystemdPrints(t *testing.T) {
	run := &scripted{t: t, answers: map[string]command.Result{
		"systemctl list-units": {Stdout: []byte("nginx.service loaded active running Web\n-rf.service x\nstatic.service loaded active running S\n\n")},
		"systemctl show":       {Stdout: []byte(show)}}}
	root := fakeDevice(t, map[string]string{"proc/11/exe": "->/usr/bin/dash", "proc/12/exe": "->/opt/assent/acme/other/versions/1.0/bin/x (deleted)", "proc/13/exe": "->/opt/assent/acme/web/x", "run/systemd/system/x": ""})
	h := Host{Root: root, Run: run}
	missing, err := h.Missing(t.Context(), []string{"nginx.service"})
	if diff := cmp.Diff([]string{"dead.service (failed)", "never.service (inactive)"}, missing); diff != "" || err != nil {
		t.Error(diff, err)
	}
	enabled, err := h.Enabled(t.Context())
	if diff := cmp.Diff([]string{"dbus.service", "nginx.service"}, enabled); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for dir, want := range map[string][]string{"/opt/assent/acme/web": {"nginx.service"}, "/opt/assent/acme/other": {"static.service"}, "/opt/assent/acme/we": nil, "/opt/assent/acme/none": nil} {
		if got, err := h.From(t.Context(), dir); err != nil || !cmp.Equal(got, want) {
			t.Errorf("from %s: %v, %v", dir, got, err)
		}
	}
	for _, c := range run.calls {
		if strings.Contains(c, "-rf") {
			t.Errorf("a name that is no unit's was passed: %s", c)
		}
	}
	if err := h.TryRestart(t.Context(), "dbus.service"); err == nil {
		t.Error("a spared service was restarted")
	}
}

// lives is a service whose states follow each other, one for each question.
type lives struct {
	t      *testing.T
	states []string
	verbs  []string
}

func (l *lives) Run(_ context.Context, c command.Call) (command.Result, error) {
	if c.Args[0] != "show" {
		l.verbs = append(l.verbs, strings.Join(c.Args, " "))
		return command.Result{}, nil
	}
	now := l.states[0]
	if len(l.states) > 1 {
		l.states = l.states[1:]
	}
	active, start, _ := strings.Cut(now, " ")
	return command.Result{Stdout: []byte("Id=web.service\nLoadState=loaded\nActiveState=" + active + "\nInvocationID=" + start + "\nResult=exit-code\n")}, nil
}

func TestAServiceIsBackWhenItStaysActive(t *testing.T) {
	for name, c := range map[string]struct {
		states []string
		verb   string
		fails  string
	}{
		"it comes back":       {[]string{"active 1", "active 2", "active 2"}, "try-restart -- web.service", ""},
		"slowly":              {[]string{"active 1", "activating 2", "activating 2", "active 2", "active 2"}, "try-restart -- web.service", ""},
		"it had failed":       {[]string{"failed 1", "active 2", "active 2"}, "restart -- web.service", ""},
		"somebody stopped it": {[]string{"inactive 1"}, "", ""},
		"it fails":            {[]string{"active 1", "failed 2"}, "try-restart -- web.service", "is failed (exit-code)"},
		"a moment later":      {[]string{"active 1", "active 2", "failed 2"}, "try-restart -- web.service", "is failed"},
		"it ends":             {[]string{"active 1", "inactive 2"}, "try-restart -- web.service", "is inactive"},
		"again and again":     {[]string{"active 1", "active 2", "active 3"}, "try-restart -- web.service", "started again"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &lives{t: t, states: c.states}
				err := Host{Run: l}.TryRestart(t.Context(), "web.service")
				if c.fails == "" && err != nil || c.fails != "" && (!errors.Is(err, ErrService) || !strings.Contains(err.Error(), c.fails)) {
					t.Errorf("%v, want %q", err, c.fails)
				}
				if got := strings.Join(l.verbs, "; "); got != c.verb {
					t.Errorf("called %q, want %q", got, c.verb)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		if err := (Host{Run: &lives{t: t, states: []string{"active 1", "activating 2"}}}).TryRestart(t.Context(), "web.service"); !errors.Is(err, ErrService) {
			t.Errorf("it never comes: %v", err)
		}
	})
}

func TestARestartHeedsWhatInhibitsItAndKnowsOlderSystemds(t *testing.T) {
	root := fakeDevice(t, map[string]string{"run/systemd/system/x": ""})
	run := &scripted{t: t, answers: map[string]command.Result{"systemctl reboot --no-block --check-inhibitors=yes": {Code: 1, Stderr: []byte("Operation inhibited by \"dpkg\" (PID 7), reason is \"x\".")}}}
	if err := (Host{Root: root, Run: run}).Restart(t.Context()); !errors.Is(err, ErrInhibited) || len(run.calls) != 1 {
		t.Errorf("%v, %v", err, run.calls)
	}
	run.answers = map[string]command.Result{"systemctl reboot --no-block --check-inhibitors=yes": {Code: 1, Stderr: []byte("systemctl: unrecognized option '--check-inhibitors=yes'")}}
	old := &older{scripted: run}
	if err := (Host{Root: root, Run: old}).Restart(t.Context()); err != nil || old.plain != 1 {
		t.Errorf("%v, %v", err, run.calls)
	}
	run.answers = map[string]command.Result{"shutdown -r now": {}}
	if err := (Host{Root: t.TempDir(), Run: run}).Restart(t.Context()); err != nil {
		t.Error(err)
	}
	run.answers = map[string]command.Result{"shutdown -r now": {Code: 3, Stderr: []byte("no")}}
	if err := (Host{Root: t.TempDir(), Run: run}).Restart(t.Context()); err == nil || errors.Is(err, ErrInhibited) {
		t.Error(err)
	}
}

// older is a systemd that does not know how to heed inhibitors.
type older struct {
	*scripted
	plain int
}

func (o *older) Run(ctx context.Context, c command.Call) (command.Result, error) {
	if len(c.Args) == 2 && c.Args[0] == "reboot" {
		o.plain++
		return command.Result{}, nil
	}
	return o.scripted.Run(ctx, c)
}

func TestWhoIsSignedInIsReadFromSessionsAndTerminals(t *testing.T) {
	entry := func(kind uint16, line, user string) string {
		b := make([]byte, utmpSize())
		binary.NativeEndian.PutUint16(b, kind)
		copy(b[8:], line)
		copy(b[44:], user)
		return string(b)
	}
	run := &scripted{t: t, answers: map[string]command.Result{
		"loginctl list-sessions": {Stdout: []byte("3 1000 ann seat0 tty2\n5 1001 bob - pts/0\n;x 1 y\n")},
		"loginctl show-session": {Stdout: []byte("User=1000\nName=ann\nTTY=tty2\nType=wayland\nClass=user\nState=active\n\nUser=1001\nName=bob\nTTY=pts/0\nType=tty\nClass=user\nState=online\n\n" +
			"User=0\nName=gdm\nClass=greeter\nState=active\n\nUser=1002\nName=gone\nClass=user\nState=closing\n")}}}
	root := fakeDevice(t, map[string]string{"run/systemd/seats/seat0": "",
		"run/utmp": entry(7, "pts/0", "bob") + entry(7, "pts/9", "eve") + entry(8, "pts/4", "dead") + entry(7, "../etc/passwd", "x") + entry(2, "~", "reboot") + "torn"})
	h := Host{Root: root, Run: run}
	got, err := h.People(t.Context())
	want := []Person{{Name: "bob", UID: "1001", Terminal: "pts/0"}, {Name: "eve", Terminal: "pts/9"}, {Name: "ann", UID: "1000", Terminal: "tty2", Desktop: true}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if got, err := (Host{Root: t.TempDir(), Run: run}).People(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	if a, err := h.askDesktop(t.Context(), want[2], "x", true, 1); a != NoAnswer || err != nil {
		t.Errorf("asked without a notifier: %v, %v", a, err)
	}
	if err := h.Tell(t.Context(), []Person{want[1]}, "x"); err == nil {
		t.Error("nobody noticed that there is no terminal")
	}
}

func TestADesktopIsAskedAsItsUserAndAnswersInTwoWords(t *testing.T) {
	root := fakeDevice(t, map[string]string{notifier: "", "run/user/1000/bus": ""})
	for said, want := range map[string]Answer{"now\n": RestartNow, "later\n": PutOff, "": NoAnswer, "now; reboot": NoAnswer} {
		run := &scripted{t: t, answers: map[string]command.Result{"systemd-run": {Stdout: []byte(said)}}}
		got, err := Host{Root: root, Run: run}.askDesktop(t.Context(), Person{Name: "ann", UID: "1000", Desktop: true}, "<b>--x & y</b>", true, 60e9)
		if got != want || err != nil {
			t.Errorf("%q: %v, %v", said, got, err)
		}
		if c := run.calls[0]; !strings.Contains(c, "--uid=1000 ") || !strings.HasSuffix(c, " -- Restart &lt;b&gt;--x &amp; y&lt;/b&gt;") {
			t.Errorf("called %s", c)
		}
	}
}

func TestATextGoesToATerminalAndToNothingElse(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Fatal("terminals are Linux's")
	}
	root := fakeDevice(t, map[string]string{"dev/tty1": "a file"})
	if err := (Host{Root: root}).Tell(t.Context(), []Person{{Name: "x", Terminal: "tty1"}}, "x"); err == nil {
		t.Error("a file was written to")
	}
	if b, err := os.ReadFile(filepath.Join(root, "dev/tty1")); err != nil || string(b) != "a file" {
		t.Errorf("%q, %v", b, err)
	}
	master, name := terminal(t)
	if err := (Host{Root: "/"}).Tell(t.Context(), []Person{{Name: "x", Terminal: name}, {Name: "y"}}, "one\x1b[2J\ntwo"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 200)
	n, err := master.Read(b)
	if got := string(b[:n]); err != nil || !strings.Contains(got, "Assent: one[2J\r") || !strings.Contains(got, "two\r") || strings.Contains(got, "\x1b") {
		t.Errorf("%q, %v", got, err)
	}
}
