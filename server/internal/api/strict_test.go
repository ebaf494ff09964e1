package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"assent/client"
	"assent/fault"
)

// FuzzReadStrict: whatever is accepted is one valid JSON value without duplicate keys, and reads the same
// when it is read again from what it was understood as.
func FuzzReadStrict(f *testing.F) {
	for _, s := range []string{`{"updates":["u1"],"status":"approved"}`, `{"status":"a","status":"b"}`, `{"matching":{"status":[]},"status":""}`, `[[[[`, "\xff", `{"expires":"2026-01-01T00:00:00Z","status":""}`, `{}{}`, `1e999`, `"\ud800"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var d client.Decide
		if err := readStrict(data, &d); err != nil {
			for _, inside := range []string{"json:", "client.", "Go value"} {
				if strings.Contains(err.Error(), inside) {
					t.Fatalf("the refusal %q shows the inside", err)
				}
			}
			return
		}
		if !json.Valid(data) || !utf8.Valid(data) {
			t.Fatalf("accepted %q", data)
		}
		again, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var e client.Decide
		if err := readStrict(again, &e); err != nil {
			t.Fatalf("%q was read and written as %q, which is refused: %v", data, again, err)
		}
		if twice, _ := json.Marshal(e); !bytes.Equal(again, twice) {
			t.Fatalf("%q reads as %q, then as %q", data, again, twice)
		}
	})
}

func TestARouteWithoutAPolicyStopsTheStart(t *testing.T) {
	good := Route{Method: "GET", Path: "/x", Need: Viewer}
	good.register = (&server{}).routes()[1].register
	for name, change := range map[string]func(*Route){
		"no policy":       func(r *Route) { r.Need = 0 },
		"unknown policy":  func(r *Route) { r.Need = 99 },
		"unknown method":  func(r *Route) { r.Method = "TRACE" },
		"no handler":      func(r *Route) { r.register = nil },
		"a GET with body": func(r *Route) { r.body = true },
	} {
		bad := good
		change(&bad)
		if err := check([]Route{bad}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := check([]Route{good, good}); err == nil {
		t.Error("the same route twice: accepted")
	}
	if err := check([]Route{good}); err != nil {
		t.Errorf("a good route: %v", err)
	}
}

func TestOneCallerCannotUseUpAllPlacesToWait(t *testing.T) {
	w := newWaiters()
	var done []func()
	for range maxWaitingOne {
		d, err := w.enter("greedy")
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, d)
	}
	if _, err := w.enter("greedy"); fault.From(err) == nil || fault.From(err).Code != "too_many_waiting" {
		t.Errorf("one more: %v", err)
	}
	if _, err := w.enter("other"); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	for _, d := range done {
		d()
	}
	if _, err := w.enter("greedy"); err != nil || w.all != 2 || len(w.one) != 2 {
		t.Errorf("after leaving: %v, %d waiting in %v", err, w.all, w.one)
	}
}
