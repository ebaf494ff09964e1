package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/catalog"
	"assent/fleet"
	"assent/rollout"
	"assent/window"
)

func TestT4_WindowsAsPeopleSayThem(t *testing.T) {
	for said, want := range map[string]string{
		"nightly 02:00 for 4h":                                       "FREQ=DAILY",
		"every 2 days at 02:00 for 4h":                               "FREQ=DAILY;INTERVAL=2",
		"sat,sun 02:00 for 4h":                                       "FREQ=WEEKLY;BYDAY=SA,SU",
		"Weekdays 02:00 for 4h":                                      "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
		"on weekends at 02:00 for 4h":                                "FREQ=WEEKLY;BYDAY=SA,SU",
		"every 2 weeks tuesday 02:00 for 4h":                         "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU",
		"second Tuesday 02:00 for 4h":                                "FREQ=MONTHLY;BYDAY=2TU",
		"the second tuesday of the month at 02:00 for 4h":            "FREQ=MONTHLY;BYDAY=2TU",
		"second tuesday plus 3 02:00 for 4h":                         "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=11,12,13,14,15,16,17",
		"2nd tue +3 days 02:00 for 4h":                               "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=11,12,13,14,15,16,17",
		"last friday 02:00 for 4h":                                   "FREQ=MONTHLY;BYDAY=-1FR",
		"every 3 months first sunday 02:00 for 4h":                   "FREQ=MONTHLY;INTERVAL=3;BYDAY=1SU",
		"day 15 02:00 for 4h":                                        "FREQ=MONTHLY;BYMONTHDAY=15",
		"last day of month 02:00 for 4h":                             "FREQ=MONTHLY;BYMONTHDAY=-1",
		"FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1 02:00 for 4h": "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
	} {
		s, err := readWindow(window.Schedule{Start: "2027-01-12", Spread: window.Duration(time.Minute)}, said)
		if err != nil || s.Rule != want || s.Start != "2027-01-12T02:00" || s.Length != window.Duration(4*time.Hour) || s.Spread == 0 {
			t.Errorf("%s: %+v %v", said, s, err)
			continue
		}
		if _, err := window.Parse(s); err != nil {
			t.Errorf("%s: %v", said, err)
		}
	}
	for _, bad := range []string{"", "nightly", "nightly for 4h", "nightly 26:00 for 4h", "nightly 02:00 for ever", "someday 02:00 for 4h", "tuesday plus 02:00 for 4h", "tuesday plus x 02:00 for 4h", " for 4h", "first 02:00 for 4h"} {
		if s, err := readWindow(window.Schedule{Start: "2027-01-12"}, bad); err == nil {
			t.Errorf("%q became %+v", bad, s)
		}
	}
}

func TestT6_RingsAsPeopleSayThem(t *testing.T) {
	day := rollout.Span(24 * time.Hour)
	for said, want := range map[string]rollout.Ring{
		"Test:Test": {Name: "Test", Groups: []fleet.GroupID{"Test"}, SuccessRate: 1000},
		"P:A, B c:rate 99.5%:soak 2d:min 3:failures 2": {Name: "P", Groups: []fleet.GroupID{"A", "B c"}, SuccessRate: 995, Soak: 2 * day, MinSample: 3, Failures: 2},
		"P:A:failure-rate 5%:silence 12h:probes:after-restart:by-person:skip-empty:not-before 2027-01-05T02:00:00Z": {Name: "P", Groups: []fleet.GroupID{"A"}, SuccessRate: 1000, FailureRate: 50,
			Silence: day / 2, Probes: true, Restarted: true, Person: true, IfEmpty: rollout.EmptySkip, NotBefore: time.Date(2027, 1, 5, 2, 0, 0, 0, time.UTC)},
	} {
		got, err := readRing(said)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", said, err, diff)
		}
	}
	for _, bad := range []string{"", "Test", "Test:", "T:T:rate", "T:T:rate 101%", "T:T:soak soon", "T:T:min x", "T:T:mistakes 2", "T:T:not-before tomorrow"} {
		if r, err := readRing(bad); err == nil {
			t.Errorf("%q became %+v", bad, r)
		}
	}
}

func TestFreezesAndProbesAsPeopleSayThem(t *testing.T) {
	for said, want := range map[string]window.Freeze{"Year's end:12-18:01-04": {Name: "Year's end", From: "12-18", To: "01-04"}, "x:2027-12-18:2028-01-04": {Name: "x", From: "2027-12-18", To: "2028-01-04"}} {
		if got, err := readFreeze(said); err != nil || got != want {
			t.Errorf("%s: %+v %v", said, got, err)
		}
	}
	for _, bad := range []string{"", "x", "x:12-18"} {
		if f, err := readFreeze(bad); err == nil {
			t.Errorf("%q became %+v", bad, f)
		}
	}
	for said, want := range map[string]catalog.Probe{
		"unit=nginx.service": {Type: catalog.ProbeUnit, Unit: "nginx.service"}, "tcp=443": {Type: catalog.ProbeTCP, Port: 443}, "http=80/health": {Type: catalog.ProbeHTTP, Port: 80, Path: "/health"},
		"http=80/=204": {Type: catalog.ProbeHTTP, Port: 80, Path: "/", Status: 204}, "process=/usr/sbin/nginx": {Type: catalog.ProbeProcess, Path: "/usr/sbin/nginx"}, "file=/etc/motd@ab": {Type: catalog.ProbeFile, Path: "/etc/motd", SHA256: "ab"},
	} {
		if got, err := readProbe(said); err != nil || got != want {
			t.Errorf("%s: %+v %v", said, got, err)
		}
	}
	for _, bad := range []string{"", "tcp", "tcp=x", "http=x/", "http=80/=ok", "file=/etc/motd", "command=reboot"} {
		if p, err := readProbe(bad); err == nil {
			t.Errorf("%q became %+v", bad, p)
		}
	}
}

func TestYAML_IsReadStrictlyAndTextsStayTexts(t *testing.T) {
	got, err := fromYAML([]byte("a: 2027-01-12T02:00\nb: 2027-01-12\nc: 12-18\nd: {e: [1, true, null, \"1\", on, ~]}\n'f': |\n  x\n  y\n"))
	if want := `{"a":"2027-01-12T02:00","b":"2027-01-12","c":"12-18","d":{"e":[1,true,null,"1","on",null]},"f":"x\ny\n"}`; err != nil || string(got) != want {
		t.Errorf("%s %v", got, err)
	}
	for _, bad := range []string{"", "a: 1\na: 2", "a: &x 1", "a: *x", "a: 1\n---\nb: 2", "a: 1.5", "a: !!binary aGk=", "[", "<<: {a: 1}", "? [a]\n: 1", "\t", strings.Repeat("[", 100) + strings.Repeat("]", 100)} {
		if out, err := fromYAML([]byte(bad)); err == nil {
			t.Errorf("%q became %s", bad, out)
		}
	}
}

func FuzzYAML_WhateverIsReadIsJSONAndReadsBack(f *testing.F) {
	f.Add("a: [1, {b: c}]")
	f.Add("\"2027-01-01\": yes")
	f.Fuzz(func(t *testing.T, text string) {
		out, err := fromYAML([]byte(text))
		if err != nil {
			return
		}
		var v any
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatalf("%q became %s: %v", text, out, err)
		}
		written, err := toYAML(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := fromYAML(written)
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, written, err)
		}
		var w any
		if err := json.Unmarshal(again, &w); err != nil || !cmp.Equal(v, w) {
			t.Fatalf("%q was written as %q: %s", text, written, cmp.Diff(v, w))
		}
	})
}

func TestSlug(t *testing.T) {
	for name, want := range map[string]string{"Patch Tuesday + 3": "patch-tuesday-3", "  Größe!": "gr-e", "": "", strings.Repeat("a", 90): strings.Repeat("a", 60)} {
		if got := slug(name); got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}
