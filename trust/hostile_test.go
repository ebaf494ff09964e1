package trust_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"errors"
	"io/fs"

	"github.com/google/go-cmp/cmp"
	"github.com/theupdateframework/go-tuf/v2/metadata"
	"pgregory.net/rapid"

	"assent/fault"
	"assent/trust"
	"assent/trust/trusttest"
)

// hostile are documents that made go-tuf, or a careless wrapper, panic or loop. %s is the role.
var hostile = []string{
	``, `null`, `0`, `[]`, `{}`, `{"signed":null}`, `{"signed":{}}`, `{"signed":{"_type":"%s"}}`,
	`{"signed":{"_type":"%s"},"signatures":null}`,
	`{"signed":{"_type":"%s","targets":{"x":null}},"signatures":[]}`,
	`{"signed":{"_type":"%s","meta":null},"signatures":[]}`,
	`{"signed":{"_type":"%s","meta":{"snapshot.json":null,"targets.json":null}},"signatures":[]}`,
	`{"signed":{"_type":"%s","keys":{"x":null},"roles":{"root":{"keyids":["x"],"threshold":1}}},"signatures":[]}`,
	`{"signed":{"_type":"%s","keys":null,"roles":{"root":null,"timestamp":null}},"signatures":[]}`,
	`{"signed":{"_type":"%s","keys":{"x":{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":"00"}}},"roles":{"root":{"keyids":["x"],"threshold":1}}},"signatures":[{"keyid":"x","sig":"00"}]}`,
	`{"signed":{"_type":"%s","keys":{"x":{"keytype":"rsa","keyval":{"public":"-----BEGIN PUBLIC KEY-----"}}},"roles":{"root":{"keyids":["x"],"threshold":1}}},"signatures":[]}`,
	`{"signed":{"_type":"%s","version":1e400},"signatures":[]}`,
	`{"signed":{"_type":"%s","version":-1,"expires":"9999-99-99T00:00:00Z"},"signatures":[]}`,
	`{"signed":{"_type":"%s","delegations":{"roles":null,"keys":{"x":null}}},"signatures":[{"keyid":null,"sig":null},null]}`,
	`{"signed":{"_type":"%s","x":1.5},"signatures":[]}`,
}

// endless is a document that is nested very deep.
func endless() []byte {
	return []byte(`{"signed":` + strings.Repeat(`{"a":`, 9000) + `1` + strings.Repeat(`}`, 9000) + `}`)
}

// offer puts hostile bytes in the place of a role's next version, named by whoever names it.
func (s *sim) offer(role string, b []byte) {
	s.t.Helper()
	switch role {
	case metadata.ROOT:
		s.files["metadata/2.root.json"] = b
	case metadata.TIMESTAMP:
		s.files["metadata/timestamp.json"] = b
	case metadata.SNAPSHOT:
		s.snapshot.Signed.Version, s.timestamp.Signed.Version = 2, 2
		s.putSnapshot(b)
	case metadata.TARGETS:
		s.targets.Signed.Version, s.snapshot.Signed.Version, s.timestamp.Signed.Version = 2, 2, 2
		s.putTargets(b)
	}
}

func TestHostile_BytesForEachRoleAreRefusedWithoutAPanic(t *testing.T) {
	for _, role := range roles {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			restore := s.save()
			for _, doc := range append(hostile, string(endless())) {
				restore()
				c, store := s.fresh()
				s.offer(role, []byte(strings.ReplaceAll(doc, "%s", role)))
				before := store.Files()
				err := s.refresh(c)
				if err == nil || fault.From(err).Kind == fault.Internal {
					t.Errorf("%.200s: %v", doc, err)
				}
				after := store.Files()
				if role == metadata.SNAPSHOT || role == metadata.TARGETS {
					delete(before, "timestamp.json") // genuine, so taken up before
					delete(after, "timestamp.json")
				}
				if role == metadata.TARGETS {
					delete(before, "snapshot.json")
					delete(after, "snapshot.json")
				}
				if !cmp.Equal(before, after) {
					t.Errorf("%.200s was kept", doc)
				}
				if role != metadata.TIMESTAMP && role != metadata.ROOT {
					s.targets.Signed.Version, s.snapshot.Signed.Version, s.timestamp.Signed.Version = 1, 1, 1
				}
			}
		})
	}
}

func TestHostile_RootsToPinAndStoresAreRefusedWithoutAPanic(t *testing.T) {
	s := newSim(t)
	for _, doc := range append(hostile, string(endless())) {
		for _, role := range roles {
			b := []byte(strings.ReplaceAll(doc, "%s", role))
			if _, err := trust.Open(b, trusttest.NewStore()); err == nil {
				t.Errorf("%.200s is a root", doc)
			}
			store := trusttest.NewStore()
			for _, name := range []string{"2.root.json", "timestamp.json", "snapshot.json", "targets.json"} {
				s.ok(store.Write(name, b))
			}
			if c := s.client(store); len(c.Targets()) != 0 {
				t.Errorf("%.200s is taken up", doc)
			}
		}
	}
}

// fuzzRole offers fuzzed bytes as a role's next version: without keys nothing but what was signed may be accepted.
func fuzzRole(f *testing.F, role string) {
	s := newSim(f)
	genuine := s.save()
	for _, doc := range hostile {
		f.Add([]byte(strings.ReplaceAll(doc, "%s", role)))
	}
	f.Add(s.files[s.name(role)])
	var turn sync.Mutex
	f.Fuzz(func(t *testing.T, b []byte) {
		turn.Lock()
		defer turn.Unlock()
		s.t = t
		genuine()
		s.targets.Signed.Version, s.snapshot.Signed.Version, s.timestamp.Signed.Version = 1, 1, 1
		c, err := trust.Open(s.first(), trusttest.NewStore())
		s.ok(err)
		s.offer(role, b)
		err = c.Refresh(t.Context(), s, s.now)
		if err != nil && fault.From(err).Kind == fault.Internal {
			t.Errorf("untyped: %v", err)
		}
		if state := c.State(); state.RootVersion > 1 || len(c.Targets()) > 1 {
			t.Errorf("accepted %q: %+v", b, state)
		}
	})
}

func FuzzRoot(f *testing.F)      { fuzzRole(f, metadata.ROOT) }
func FuzzTimestamp(f *testing.F) { fuzzRole(f, metadata.TIMESTAMP) }
func FuzzSnapshot(f *testing.F)  { fuzzRole(f, metadata.SNAPSHOT) }
func FuzzTargets(f *testing.F)   { fuzzRole(f, metadata.TARGETS) }

// Whatever one does to the JSON of signed metadata without its keys, no client takes up what it says now.
func TestHostile_NoChangeToSignedMetadataIsAccepted(t *testing.T) {
	s := newSim(t)
	s.later()
	genuine := s.save()
	rapid.Check(t, func(r *rapid.T) {
		genuine()
		role := rapid.SampledFrom(roles[1:]).Draw(r, "role")
		field := rapid.SampledFrom([]string{"version", "expires", "spec_version", "meta", "targets", "extra"}).Draw(r, "field")
		value := rapid.SampledFrom([]any{nil, 7, "2099-01-01T00:00:00Z", "1.0", map[string]any{}, map[string]any{"x": nil}}).Draw(r, "value")
		b := s.files[s.name(role)]
		changed := edited(t, b, func(m map[string]any) { m[field] = value })
		s.files[s.name(role)] = changed
		c, err := trust.Open(s.first(), trusttest.NewStore())
		s.ok(err)
		if err := c.Refresh(t.Context(), s, s.now); err == nil {
			var x, y any
			s.ok(errors.Join(json.Unmarshal(b, &x), json.Unmarshal(changed, &y)))
			if !cmp.Equal(x, y) {
				r.Fatalf("%s with %s = %v was accepted", role, field, value)
			}
		}
	})
}

// A random history of publications, replays and restarts: versions never go back, and targets are always a signed set.
func TestClient_NeverGoesBackWhateverIsServed(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newSim(t)
		store := trusttest.NewStore()
		c := s.client(store)
		saved := []func(){s.save()}
		var last trust.State
		for range rapid.IntRange(3, 15).Draw(r, "steps") {
			switch rapid.IntRange(0, 5).Draw(r, "act") {
			case 0:
				saved[len(saved)-1]()
				s.next()
				saved = append(saved, s.save())
			case 1:
				rapid.SampledFrom(saved).Draw(r, "replay")()
			case 2:
				c = s.client(store)
			case 3:
				mixed := maps.Clone(s.files)
				rapid.SampledFrom(saved).Draw(r, "other")()
				s.files["metadata/timestamp.json"] = mixed["metadata/timestamp.json"]
			default:
				_ = s.refresh(c)
			}
			now := c.State()
			if now.TargetsVersion < last.TargetsVersion || now.SnapshotVersion < last.SnapshotVersion || now.TimestampVersion < last.TimestampVersion {
				r.Fatalf("went back from %+v to %+v", last, now)
			}
			last = now
		}
	})
}

func TestClient_IsSafeForConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		c, _ := s.fresh()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := c.Refresh(t.Context(), s, s.now); err != nil {
					t.Error(err)
				}
				_, _ = c.Lookup("file")
				_, _, _ = c.Targets(), c.State(), c.Root()
			})
		}
		wg.Wait()
	})
}

func TestHTTP_ReadsBelowItsBaseWithCapsAndWithoutLeavingTheHost(t *testing.T) {
	var elsewhere string
	mux := http.NewServeMux()
	mux.HandleFunc("/feed/metadata/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/feed/metadata/a b%?.json" {
			_, _ = w.Write([]byte("12345"))
		}
	})
	mux.HandleFunc("/feed/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) })
	mux.HandleFunc("/feed/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	server := httptest.NewServer(mux)
	defer server.Close()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") }))
	defer other.Close()
	elsewhere = other.URL
	src, err := trust.HTTP(server.URL+"/feed/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := src.Read(t.Context(), "metadata/a b%?.json", 5); err != nil || string(b) != "12345" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := src.Read(t.Context(), "metadata/a b%?.json", 4); !errors.Is(err, trust.ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if _, err := src.Read(t.Context(), "absent", 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"away", "broken"} {
		if _, err := src.Read(t.Context(), name, 5); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "x", "file:///etc", "http://", "https://user:pass@host/", "http://host/?q", "ftp://host"} {
		if _, err := trust.HTTP(bad, nil); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestDir_DoesNotLeaveItsFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := trust.Dir(dir).Read(t.Context(), "../../etc/passwd", 1<<20); err == nil {
		t.Error("read a file outside")
	}
	store := trust.DirStore(dir)
	if err := store.Write("../x", nil); err == nil {
		t.Error("wrote a file outside")
	}
	if _, err := store.Read("timestamp.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := store.Write("timestamp.json", []byte("x")); err != nil {
		t.Error(err)
	}
	if b, err := store.Read("timestamp.json"); err != nil || string(b) != "x" {
		t.Errorf("%q %v", b, err)
	}
}
