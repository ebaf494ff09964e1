package feed_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"assent/catalog"
	"assent/fault"
	"assent/feed"
)

func manifest(change func(*feed.Manifest)) feed.Manifest {
	m := feed.Manifest{Application: "ledger", Version: "2.0.0", Class: catalog.Managed, Kind: catalog.Full, Payload: catalog.Tar, Restart: catalog.RestartNone,
		Released: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Removal: catalog.Removal{Removable: true},
		Items: []feed.Item{{Name: "ledger", Arch: "amd64", Version: "2.0.0", Size: 1, SHA256: strings.Repeat("a", 64), Platform: catalog.Platform{OS: "linux", Arch: "amd64"}}}}
	if change != nil {
		change(&m)
	}
	return m
}

func TestManifest_ReadsBackAndBecomesAnUpdate(t *testing.T) {
	b, r, err := feed.Encode("acme", manifest(nil))
	if err != nil {
		t.Fatal(err)
	}
	again, err := feed.Parse("acme", b)
	if err != nil || again.PURL() != "pkg:generic/feed.acme/ledger@2.0.0" || r.Release != again.Release {
		t.Fatalf("%+v %v", again, err)
	}
	u := r.Update("acme", time.Now())
	if u.Class != catalog.Managed || u.Items[0].Format != catalog.Tar || !u.Removable() || u.Rev() != 1 {
		t.Errorf("%+v", u)
	}
	if got := r.For(catalog.Platform{OS: "linux", Distribution: "debian", Version: "12", Arch: "arm64"}); got != nil {
		t.Errorf("an amd64 tree fits arm64: %v", got)
	}
}

func TestManifest_WhatIsUnknownIsShownAndHolds(t *testing.T) {
	for name, change := range map[string]func(*feed.Manifest){
		"payload format":         func(m *feed.Manifest) { m.Payload = "msi" },
		"minimum server version": func(m *feed.Manifest) { m.MinServer = "soon" },
		"minimum agent version":  func(m *feed.Manifest) { m.MinAgent = "x" },
		"version":                func(m *feed.Manifest) { m.Version, m.Items[0].Version = "next", "next" },
		"class":                  func(m *feed.Manifest) { m.Class = "driver" },
		"platform":               func(m *feed.Manifest) { m.Items[0].Platform.OS = "plan9" },
		"kind":                   func(m *feed.Manifest) { m.Kind = "half" },
		"restart behaviour":      func(m *feed.Manifest) { m.Restart = "often" },
		"severity":               func(m *feed.Manifest) { m.Severity = "awful" },
		"applicable versions":    func(m *feed.Manifest) { m.AppliesTo = []string{"~>1"} },
		"probe":                  func(m *feed.Manifest) { m.Probe = &catalog.Probe{Type: "command"} },
		"manifest format":        func(m *feed.Manifest) { m.Format = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			m := manifest(func(m *feed.Manifest) { m.Format = feed.ManifestFormat })
			change(&m)
			b, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			r, err := feed.Parse("acme", b)
			if err != nil || len(r.Unknown) == 0 || !strings.HasPrefix(strings.Join(r.Unknown, "\n"), name) {
				t.Errorf("%v %v", r.Unknown, err)
			}
		})
	}
}

func TestManifest_WhatIsUnsoundIsRefusedWithItsField(t *testing.T) {
	for name, change := range map[string]func(*feed.Manifest){
		"application":   func(m *feed.Manifest) { m.Application = "../etc" },
		"version":       func(m *feed.Manifest) { m.Version = "1/2" },
		"items":         func(m *feed.Manifest) { m.Items = nil },
		"items[0]":      func(m *feed.Manifest) { m.Items[0].SHA256 = "beef" },
		"items[1]":      func(m *feed.Manifest) { m.Items = append(m.Items, m.Items[0]) },
		"notes":         func(m *feed.Manifest) { m.Notes = "\x1b[2J" },
		"cves":          func(m *feed.Manifest) { m.CVEs = []string{"CVE-1"} },
		"requires":      func(m *feed.Manifest) { m.Requires = []catalog.Requirement{{Application: "ledger", Version: "1"}} },
		"agreements[0]": func(m *feed.Manifest) { m.Agreements = []catalog.Agreement{{ID: "eula"}} },
		"probe": func(m *feed.Manifest) {
			m.Probe = &catalog.Probe{Type: catalog.ProbeFile, Path: "../x", SHA256: strings.Repeat("a", 64)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := feed.Encode("acme", manifest(change))
			if f := fault.From(err); !errors.Is(err, fault.Invalid) || f.Field != name {
				t.Errorf("%v on %q", err, f.Field)
			}
		})
	}
}

func TestApplies_ConstraintsOnTheInstalledVersion(t *testing.T) {
	for _, tc := range []struct {
		constraints []string
		installed   string
		want, bad   bool
	}{
		{nil, "1.0", true, false},
		{[]string{"1.0"}, "1.0.0", true, false},
		{[]string{">=1.0, <2.0"}, "1.5", true, false},
		{[]string{">=1.0, <2.0"}, "2.0", false, false},
		{[]string{"0.9", "> 1.9"}, "2.0", true, false},
		{[]string{"!1.0"}, "1.0", false, true},
		{[]string{""}, "1.0", false, true},
	} {
		got, err := feed.Applies(catalog.Generic, tc.constraints, tc.installed)
		if got != tc.want || (err != nil) != tc.bad {
			t.Errorf("%q for %s: %v %v", tc.constraints, tc.installed, got, err)
		}
	}
}

func TestAgreement_AChangedTextIsAnotherAgreement(t *testing.T) {
	a := catalog.Agreement{ID: "eula", Texts: []catalog.AgreementText{{Language: "en", SHA256: strings.Repeat("a", 64), Size: 1}}}
	before := a.Digest()
	a.Texts = []catalog.AgreementText{{Language: "en", SHA256: strings.Repeat("b", 64), Size: 1}}
	if a.Digest() == before {
		t.Error("the digest does not depend on the text")
	}
}

func FuzzParse(f *testing.F) {
	b, _, err := feed.Encode("acme", manifest(nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := feed.Parse("acme", b)
		if err == nil && (r.Name != r.Manifest.Application || len(r.Manifest.Items) == 0) {
			t.Errorf("%+v", r)
		}
	})
}
