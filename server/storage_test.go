package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assent/client"
	"assent/wire"
)

// disk mounts a small file system for a data directory.
func disk(t *testing.T) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", at)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "--lazy", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return at
}

func mount(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Fatalf("mount %v: %v: %s (this test needs root)", args, err, out)
	}
}

// fill takes all room of a disk until free is called.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	return func() {
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// refusal is an answer that is none of success.
type refusal struct {
	status     int
	code       string
	retryAfter string
}

func ask(t *testing.T, c *http.Client, method, url, token string, body []byte) refusal {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p client.Problem
	if resp.StatusCode/100 != 2 {
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s %s: %d %s", method, req.URL.Path, resp.StatusCode, p.Detail)
	}
	return refusal{status: resp.StatusCode, code: p.Code, retryAfter: resp.Header.Get("Retry-After")}
}

// storing demands the refusal of a full disk.
func (r refusal) storing(t *testing.T, what string) {
	t.Helper()
	if r.status != http.StatusServiceUnavailable || r.code != "storage_full" || r.retryAfter == "" {
		t.Errorf("%s on a full disk: %+v; want 503 storage_full with Retry-After", what, r)
	}
}

func TestN49_OnAFullDiskActsAreRefusedCheckInsGoOnAndAllHealsWithoutARestart(t *testing.T) {
	data := disk(t)
	l := start(t, data, nil)
	admin := l.admin()
	_, dev, _ := l.enrol(admin)
	docs, digests, _ := documents()
	upload := func(kind wire.Kind) refusal {
		return ask(t, dev, http.MethodPut, "https://"+l.agents+wire.PathDocument+"/"+string(kind)+"/"+digests[kind], "", docs[kind])
	}
	seq := int64(0)
	checkIn := func() (reply wire.CheckInReply) {
		t.Helper()
		seq++
		if code := l.send(dev, wire.PathCheckIn, wire.CheckIn{Capability: 1, BootID: "boot", Run: "run", Sequence: seq, Digests: digests}, &reply); code != 200 {
			t.Errorf("check-in %d: %d", seq, code)
		}
		return reply
	}
	for _, kind := range checkIn().Need {
		if r := upload(kind); r.status/100 != 2 {
			t.Fatalf("upload %s: %+v", kind, r)
		}
	}
	if reply := checkIn(); reply.Statement == nil {
		t.Fatalf("check-in: %+v; want a statement", reply)
	}
	create := func(name string) refusal {
		return ask(t, http.DefaultClient, http.MethodPost, "http://"+l.api+"/api/v1/groups", admin, []byte(`{"name":"`+name+`"}`))
	}
	free := fill(t, data)
	refused, names := refusal{status: 200}, []string{}
	for i := 0; i < 2000 && refused.status/100 == 2; i++ { // the database may have some room left in its own blocks
		name := "group-" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + wire.Digest([]byte{byte(i), byte(i >> 8)})[:8]
		if refused = create(name); refused.status/100 == 2 {
			names = append(names, name)
		}
	}
	refused.storing(t, "an act")
	docs[wire.KindFacts], digests[wire.KindFacts] = incompressible(t)
	for range 3 {
		if reply := checkIn(); len(reply.Need) != 1 { // it is answered, and goes on being asked
			t.Errorf("check-in on a full disk: %+v", reply)
		}
		upload(wire.KindFacts).storing(t, "a document")
	}
	for _, path := range []string{"/readyz", "/healthz", "/api/v1/status", "/api/v1/ledger"} {
		if code := l.call(http.MethodGet, path, admin, nil, nil); code != 200 {
			t.Errorf("%s on a full disk: %d", path, code)
		}
	}

	free()
	if r := create("after"); r.status/100 != 2 {
		t.Fatalf("the disk has room again: %+v", r)
	}
	if r := upload(wire.KindFacts); r.status/100 != 2 {
		t.Fatalf("the disk has room again: %+v", r)
	}
	if reply := checkIn(); len(reply.Need) > 0 {
		t.Errorf("check-in: %+v; want all documents known", reply)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	l = start(t, data, nil)
	var groups client.List[client.GroupRow]
	if code := l.call(http.MethodGet, "/api/v1/groups", admin, nil, &groups); code != 200 {
		t.Fatalf("groups: %d", code)
	}
	if want := len(names) + 2; len(groups.Items) != want { // and the root, and the one after
		t.Errorf("%d groups after a restart, want %d: those that were acknowledged", len(groups.Items), want)
	}
}

// incompressible are facts that need room.
func incompressible(t *testing.T) ([]byte, string) {
	t.Helper()
	var text strings.Builder
	for i := range 4000 {
		text.WriteString(wire.Digest([]byte{byte(i), byte(i >> 8)}))
	}
	body, digest, err := wire.Encode(wire.Facts{Hostname: "web1", OS: "debian", OSVersion: "12", Arch: "amd64", Kernel: text.String()})
	if err != nil {
		t.Fatal(err)
	}
	return body, digest
}

func TestN49_AStartOnAFullOrReadOnlyDiskSaysWhatToDo(t *testing.T) {
	for _, when := range []string{"first", "later"} {
		for says, spoil := range map[string]func(*testing.T, string){
			"free space on it": func(t *testing.T, data string) { fill(t, data) },
			"make it writable": func(t *testing.T, data string) { mount(t, "-o", "remount,ro", data) },
		} {
			t.Run(when+" start: "+says, func(t *testing.T) {
				data := disk(t)
				if when == "later" {
					if err := start(t, data, nil).stop(); err != nil {
						t.Fatal(err)
					}
				}
				spoil(t, data)
				if why := fails(t, Config{Data: data}); !strings.Contains(why, says) {
					t.Errorf("the start fails with: %s", why)
				}
			})
		}
	}
}
