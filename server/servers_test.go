package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/client"
	"assent/fleet"
	"assent/wire"
)

// several is several servers on one PostgreSQL database, with the same keys.
type several struct {
	t       *testing.T
	url     string // file with the database's address
	servers []*live
}

func newSeveral(t *testing.T, n int) *several {
	t.Helper()
	s := &several{t: t, url: address(t, database(t).Database(t)).URLFile}
	for range n {
		s.join()
	}
	return s
}

func (s *several) config(c *Config) { c.Database.URLFile = s.url }

// join starts one more server, with the keys of the first.
func (s *several) join() *live {
	s.t.Helper()
	data := s.t.TempDir()
	if err := os.Chmod(data, 0o700); err != nil {
		s.t.Fatal(err)
	}
	if len(s.servers) > 0 {
		s.carry(s.servers[0].data, data)
	}
	l := start(s.t, data, s.config)
	s.servers = append(s.servers, l)
	return l
}

// carry brings keys from one data directory to another, by the commands for it.
func (s *several) carry(from, to string) {
	s.t.Helper()
	dir := s.t.TempDir()
	word, file := filepath.Join(dir, "passphrase"), filepath.Join(dir, "keys")
	if err := os.WriteFile(word, []byte("correct horse battery\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	for _, args := range [][]string{{"keys", "export", file, "--data", from, "--passphrase-file", word}, {"keys", "import", file, "--data", to, "--passphrase-file", word}} {
		if out, err := run(s.t, args...); err != nil {
			s.t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}

// speak sends a check-in of a device to one of the servers.
func (s *several) speak(at int, c *http.Client, m wire.CheckIn) (wire.CheckInReply, int) {
	s.t.Helper()
	var reply wire.CheckInReply
	code := s.servers[at].send(c, wire.PathCheckIn, m, &reply)
	return reply, code
}

// upload gives one of the servers a document.
func (s *several) upload(at int, c *http.Client, kind wire.Kind, digest string, body []byte) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPut, "https://"+s.servers[at].agents+wire.PathDocument+"/"+string(kind)+"/"+digest, strings.NewReader(string(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		s.t.Fatalf("upload of %s: %d", kind, resp.StatusCode)
	}
}

func TestServers_ADecisionAtOneReachesADeviceThatWaitsAtAnother(t *testing.T) {
	s := newSeveral(t, 2)
	admin := s.servers[0].admin()
	var token client.TokenRow
	if code := s.servers[1].call(http.MethodPost, "/api/v1/tokens", admin, client.TokenRequest{Uses: 1}, &token); code/100 != 2 {
		t.Fatalf("an access made at one server does not count at another at once: %d", code)
	}
	id, c, _ := s.servers[0].enrolAs(admin, "web1")
	docs, digests, release := documents()
	m := wire.CheckIn{Capability: wire.Capability, BootID: "boot", Run: "run", Sequence: 1, Digests: digests}
	reply, code := s.speak(1, c, m) // it enrolled at the other one a moment ago
	if code != http.StatusOK || len(reply.Need) != 3 {
		t.Fatalf("the first check-in: %d %+v", code, reply)
	}
	for i, kind := range reply.Need { // in turns
		s.upload(i%2, c, kind, digests[kind], docs[kind])
	}
	m.Sequence++
	if reply, code = s.speak(0, c, m); code != http.StatusOK || reply.Statement == nil {
		t.Fatalf("with all documents: %d %+v", code, reply)
	}
	body, err := unverified(*reply.Statement)
	if err != nil {
		t.Fatal(err)
	}
	held := body.Plan
	for at := range 4 { // it settles on both
		m.Sequence++
		m.Plan, m.Counter, m.Wait = held, body.Counter, 0
		if reply, code = s.speak(at%2, c, m); code != http.StatusOK {
			t.Fatalf("check-in %d: %d", m.Sequence, code)
		}
		if reply.Statement != nil {
			if body, err = unverified(*reply.Statement); err != nil {
				t.Fatal(err)
			}
			if body.Counter < m.Counter {
				t.Errorf("server %d answers with a truth of %d acts to a device that has seen %d", at%2, body.Counter, m.Counter)
			}
			held = body.Plan
		}
	}
	m.Sequence++
	m.Plan, m.Counter, m.Wait = held, body.Counter, 60
	waiting := make(chan wire.CheckInReply, 1)
	go func() {
		reply, _ := s.speak(1, c, m)
		waiting <- reply
	}()
	s.connected(admin, 0, id) // the other server knows that it waits
	began := time.Now()
	if code := s.servers[0].call(http.MethodPost, "/api/v1/decisions", admin, map[string]any{"updates": []string{release.PURL()}, "status": "approved"}, nil); code/100 != 2 {
		t.Fatalf("approve: %d", code)
	}
	if reply := <-waiting; reply.Statement == nil {
		t.Error("the device heard nothing of the decision")
	}
	t.Logf("a decision at one server reached a device at another in %v", time.Since(began).Round(time.Millisecond))
}

// unverified reads a statement; who signed it is not what is tested.
func unverified(s wire.Statement) (body wire.StatementBody, err error) {
	return body, json.Unmarshal(s.Body, &body)
}

// connected waits until a server says that a device listens.
func (s *several) connected(admin string, at int, id fleet.DeviceID) {
	s.t.Helper()
	for range 600 {
		var list struct {
			Items []struct {
				ID        fleet.DeviceID `json:"id"`
				Connected bool           `json:"connected"`
			} `json:"items"`
		}
		if code := s.servers[at].call(http.MethodGet, "/api/v1/devices", admin, nil, &list); code != http.StatusOK {
			s.t.Fatalf("list devices: %d", code)
		}
		for _, d := range list.Items {
			if d.ID == id && d.Connected {
				return
			}
		}
		time.Sleep(50 * time.Millisecond) // there is no signal for what another server heard
	}
	s.t.Fatal("the device never seemed to be connected")
}

func TestServers_OneWithOtherKeysIsRefused(t *testing.T) {
	s := newSeveral(t, 1)
	stranger := t.TempDir()
	c := Config{Data: stranger}
	s.config(&c)
	if why := fails(t, c); !strings.Contains(why, "assentd keys import") {
		t.Errorf("a server without keys: %s", why)
	}
	if _, err := os.Stat(filepath.Join(stranger, planKeyFile)); !os.IsNotExist(err) {
		t.Errorf("it made keys of its own: %v", err)
	}
	s.carry(s.servers[0].data, stranger)
	for _, name := range []string{ledgerKeyFile, planKeyFile} {
		own, err := os.ReadFile(filepath.Join(stranger, name))
		if err != nil {
			t.Fatal(err)
		}
		other, err := os.ReadFile(filepath.Join(stranger, map[string]string{ledgerKeyFile: planKeyFile, planKeyFile: ledgerKeyFile}[name]))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(stranger, name), other, 0o600); err != nil {
			t.Fatal(err)
		}
		if why := fails(t, c); !strings.Contains(why, name) {
			t.Errorf("a server with another %s: %s", name, why)
		}
		if err := os.WriteFile(filepath.Join(stranger, name), own, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeysAreCarriedOnlyWithThePassphraseAndNeverOverOthers(t *testing.T) {
	from, to, dir := t.TempDir(), t.TempDir(), t.TempDir()
	start(t, from, nil).stop()
	word, wrong, short, file := filepath.Join(dir, "word"), filepath.Join(dir, "wrong"), filepath.Join(dir, "short"), filepath.Join(dir, "keys")
	for path, text := range map[string]string{word: "correct horse battery", wrong: "incorrect horse battery", short: "short"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if out, err := run(t, append([]string{"keys"}, args...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v %s, want %q", args, err, out, want)
		}
	}
	refused("fewer than", "export", file, "--data", from, "--passphrase-file", short)
	refused("--passphrase-file", "export", file, "--data", from)
	refused("no server has run", "export", file, "--data", to, "--passphrase-file", word)
	if _, err := run(t, "keys", "export", file, "--data", from, "--passphrase-file", word); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of the keys: %v %v", info, err)
	}
	for _, name := range keyFiles() {
		key, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if sealed, err := os.ReadFile(file); err != nil || strings.Contains(string(sealed), string(key[40:80])) {
			t.Errorf("%s can be read in the file: %v", name, err)
		}
	}
	refused("exists", "export", file, "--data", from, "--passphrase-file", word)
	refused("another one", "import", file, "--data", to, "--passphrase-file", wrong)
	refused("no file of", "import", word, "--data", to, "--passphrase-file", word)
	other := t.TempDir()
	start(t, other, nil).stop()
	refused("another server", "import", file, "--data", other, "--passphrase-file", word)
	for range 2 { // the same again is no harm
		if _, err := run(t, "keys", "import", file, "--data", to, "--passphrase-file", word); err != nil {
			t.Error(err)
		}
	}
	for _, name := range keyFiles() {
		a, errA := os.ReadFile(filepath.Join(from, name))
		b, errB := os.ReadFile(filepath.Join(to, name))
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s was not carried over: %v %v", name, errA, errB)
		}
	}
}

func TestServers_ACloneThatIsSplitOverTwoServersIsFoundAndARestartIsNone(t *testing.T) {
	s := newSeveral(t, 2)
	admin := s.servers[0].admin()
	id, c, _ := s.servers[0].enrolAs(admin, "web1")
	docs, digests, _ := documents()
	reply, _ := s.speak(0, c, wire.CheckIn{Capability: wire.Capability, BootID: "boot", Run: "run0", Sequence: 1, Digests: digests})
	for _, kind := range reply.Need {
		s.upload(0, c, kind, digests[kind], docs[kind])
	}
	speak := func(at int, run string, seq int64) int {
		_, code := s.speak(at, c, wire.CheckIn{Capability: wire.Capability, BootID: "boot", Run: run, Sequence: seq, Digests: digests})
		return code
	}
	seq := int64(1)
	for i := range 40 { // one agent that is served by both and restarts now and then
		seq++
		if i%10 == 9 {
			seq = (seq/1000 + 1) * 1000
		}
		if code := speak(i%2, fmt.Sprint("run", i/10), seq); code != http.StatusOK {
			t.Fatalf("check-in %d of an honest agent at server %d: %d", i, i%2, code)
		}
	}
	// Two copies of its disk, each at a server of its own.
	found := func() bool {
		for i := range int64(400) {
			next := (seq/1000 + 1) * 1000
			if speak(0, "copy0", next+i) != http.StatusOK || speak(1, "copy1", next+i) != http.StatusOK {
				return true
			}
			time.Sleep(20 * time.Millisecond) // contacts are written every few seconds
		}
		return false
	}
	if !found() {
		t.Fatalf("the two copies of %s were taken for one", id)
	}
}
