package criteria_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/catalog"
	"assent/criteria"
	"assent/fault"
	"assent/fleet"
	"assent/wire"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// openssl is an update that only a device's own package source knows.
func openssl() criteria.Update {
	return criteria.Update{Now: now, Installed: "3.0.16-1", Update: catalog.Update{
		Release: catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: "openssl"}, Version: "3.0.17-1"},
		Class:   catalog.ThirdParty, Severity: catalog.High, Security: true, Phased: 100, Origins: []string{"Debian:bookworm-security"},
		FirstSeen: now.Add(-72 * time.Hour), Items: []catalog.Bound{
			{Item: catalog.Item{Name: "openssl", Size: 1000}, Role: catalog.Own}, {Item: catalog.Item{Name: "libssl3", Size: 2000}, Role: catalog.Own},
			{Item: catalog.Item{Name: "other", Size: 4000}, Role: catalog.Dependency}},
	}}
}

// ledger is an update of a feed.
func ledgerApp() criteria.Update {
	u := openssl()
	u.Software = catalog.Software{Ecosystem: "generic", Namespace: "feed.acme", Name: "ledger"}
	u.Version, u.Installed, u.Class, u.Severity, u.Security = "2.0.0", "1.9", catalog.Managed, "", false
	u.Published = &catalog.Publication{Feed: "acme", Released: now.Add(-240 * time.Hour), CVEs: []string{"CVE-2026-1"}, Restart: catalog.RestartService, Removal: catalog.Removal{Removable: true}}
	return u
}

func match(t *testing.T, source string, u criteria.Update) (bool, error) {
	t.Helper()
	r, err := criteria.CompileRule(source)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return r.Match(u)
}

func TestT2_CriteriaAreOneExpressionOverTheUpdate(t *testing.T) {
	for source, want := range map[string][2]bool{ // openssl, ledger
		"":                            {true, true},
		"  ":                          {true, true},
		`class == "third_party"`:      {true, false},
		`ecosystem == "generic"`:      {false, true},
		`origin == "debian"`:          {true, false},
		`feed == "acme"`:              {false, true},
		`feed == ""`:                  {true, false},
		`name in ["openssl", "curl"]`: {true, false},
		`"libssl3" in packages && !("other" in packages)`:               {true, true},
		`origins.exists(o, o.endsWith("-security"))`:                    {true, true},
		`origins.all(o, o.contains("bullseye"))`:                        {false, false},
		`version >= "3.0.9-1"`:                                          {true, false},
		`"3.0.9-1" > version`:                                           {false, true},
		`version.startsWith("3.0.")`:                                    {true, false},
		`security`:                                                      {true, false},
		`severity >= "high"`:                                            {true, false},
		`severity > "high"`:                                             {false, false},
		`"medium" < severity`:                                           {true, false},
		`severity == "unrated"`:                                         {false, true},
		`severity <= "low"`:                                             {false, true},
		`class == "managed" && "CVE-2026-1" in cves`:                    {false, true},
		`age_release >= days(5)`:                                        {false, true}, // openssl falls back to first seen
		`age_seen >= days(3) && age_seen <= hours(72)`:                  {true, true},
		`age_seen > duration("71h59m") && age_seen < duration("72h1s")`: {true, true},
		`new_major`:            {false, true},
		`size == 3000`:         {true, true},
		`phased < 100`:         {false, false},
		`restart == "service"`: {false, true},
		`restart == "unknown"`: {true, false},
		`removable`:            {false, true},
		`(class == "managed" ? age_release : age_seen) >= days(4)`:              {false, true},
		`name.matches("^open(ssl|ssh)$") || name == "ledger" && !(size > 5000)`: {true, true},
	} {
		for i, u := range []criteria.Update{openssl(), ledgerApp()} {
			if got, err := match(t, source, u); err != nil || got != want[i] {
				t.Errorf("%s over %s: %v, %v; want %v", source, u.Name, got, err, want[i])
			}
		}
	}
}

func TestT2_WhatIsNotKnownHoldsAndIsNeverFalse(t *testing.T) {
	u := openssl()
	odd := openssl()
	odd.Severity, odd.Class, odd.FirstSeen, odd.Items, odd.Version = "dreadful", "new_class", time.Time{}, nil, "bad version!"
	unplaced := openssl()
	unplaced.Unplaced = true
	for _, c := range []struct {
		source, says string
		u            criteria.Update
	}{
		{`kev`, "kev is not known", u},
		{`!kev`, "kev is not known", u},
		{`"CVE-2026-1" in cves`, "cves is not known", u},
		{`!("CVE-2026-1" in cves)`, "cves is not known", u},
		{`cves.all(c, c == "x")`, "cves is not known", u},
		{`size(advisories) == 0`, "advisories is not known", u},
		{`security && kev`, "kev is not known", u},
		{`severity == "high"`, "severity is not known", odd},
		{`severity >= "low"`, "severity is not known", odd},
		{`class != "managed"`, "class is not known", odd},
		{`age_seen < days(1)`, "age_seen is not known", odd},
		{`age_release < days(1)`, "age_release is not known", odd},
		{`size < 10`, "size is not known", odd},
		{`!("x" in packages)`, "packages is not known", odd},
		{`version < "3"`, "cannot be ordered", odd},
		{`version < "3 4"`, "cannot be ordered", u},
		{`new_major`, "new_major is not known", odd},
		{`!new_major`, "new_major is not known", unplaced},
	} {
		got, err := match(t, c.source, c.u)
		var unknown *criteria.Unknown
		if got || !errors.As(err, &unknown) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v; want an unknown that says %q", c.source, got, err, c.says)
		}
	}
}

func TestT2_WhatTheRestDecidesAloneNeedsNoUnknownValue(t *testing.T) {
	for source, want := range map[string]bool{`security || kev`: true, `kev || security`: true, `kev && name == "x"`: false, `name == "x" && kev`: false,
		`origins.exists(o, o.contains("Debian")) || kev`: true} {
		if got, err := match(t, source, openssl()); err != nil || got != want {
			t.Errorf("%s: %v, %v", source, got, err)
		}
	}
}

func TestT2_VulnerabilityDataIsKnownOnceItIsThere(t *testing.T) {
	u := openssl()
	feed := u
	feed.Published = &catalog.Publication{Feed: "acme", CVEs: []string{"CVE-2026-1"}, Exploited: []string{"CVE-2026-1"}}
	if rule, err := criteria.CompileRule("kev"); err != nil {
		t.Fatal(err)
	} else if met, err := rule.Match(feed); !met || err != nil {
		t.Errorf("what a feed knows to be exploited: %v, %v", met, err)
	}
	u.Advisories = &criteria.Advisories{IDs: []string{"DSA-5764-1"}, CVEs: []string{"CVE-2024-6119"}, KEV: true}
	for _, source := range []string{`kev`, `"CVE-2024-6119" in cves`, `"DSA-5764-1" in advisories`, `cves.exists(c, c.startsWith("CVE-2024"))`} {
		if got, err := match(t, source, u); err != nil || !got {
			t.Errorf("%s: %v, %v", source, got, err)
		}
	}
	f := ledgerApp()
	f.Advisories = &criteria.Advisories{CVEs: []string{"CVE-2026-2", "CVE-2026-1"}}
	if got, err := match(t, `size(cves) == 2 && !kev`, f); err != nil || !got {
		t.Errorf("what the feed and the data say is not one list: %v, %v", got, err)
	}
}

func TestT2_WhatDoesNotCompileSaysWhereAndWhy(t *testing.T) {
	long := strings.Repeat("a", criteria.MaxSource+1)
	deep := strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200)
	many := "size in [" + strings.Repeat("1, ", 1200) + "1]"
	for source, want := range map[string][2]string{
		`1 +`:                                      {"criteria_syntax", "Line 1, column 4: "},
		"name == \"a\" &&\n  sevrity == \"low\"":   {"criteria_unknown_name", "Line 2, column 3: There is no field \"sevrity\"; did you mean \"severity\"?"},
		`qqqqqqqq`:                                 {"criteria_unknown_name", "texts stand in quotes"},
		`severity == "hihg"`:                       {"criteria_value", "Line 1, column 13: severity is never \"hihg\""},
		`"manged" == class`:                        {"criteria_value", "class is never"},
		`severity in ["low", "x"]`:                 {"criteria_value", "is never \"x\""},
		`severity >= name`:                         {"criteria_type", "ordered against a value in quotes"},
		`name < "x"`:                               {"criteria_type", "name has no order"},
		`class >= "managed"`:                       {"criteria_type", "class has no order"},
		`"a" < "b"`:                                {"criteria_type", "Only numbers"},
		`origins.exists(o, o < "b")`:               {"criteria_type", "Only numbers"},
		`name == 1`:                                {"criteria_type", "Line 1, column 6"},
		`name`:                                     {"criteria_not_bool", "a text and not true or false"},
		`size`:                                     {"criteria_not_bool", "a number"},
		`cves`:                                     {"criteria_not_bool", "a list"},
		`name.foo`:                                 {"criteria_unknown_name", "no parts"},
		`cves.map(c, c) == cves`:                   {"criteria_not_allowed", ".map()"},
		`cves[0] == "x"`:                           {"criteria_not_allowed", "operator"},
		`name + "x" == "y"`:                        {"criteria_not_allowed", "The operator + cannot be used"},
		`timestamp("2026-01-01T00:00:00Z") == x`:   {"criteria_not_allowed", "timestamp"},
		`dyn(name) == 1`:                           {"criteria_not_allowed", "dyn"},
		`{"a": 1} == {}`:                           {"criteria_not_allowed", "Maps"},
		`size > 1.5`:                               {"criteria_not_allowed", "whole numbers"},
		`name == null`:                             {"criteria_not_allowed", "whole numbers"},
		`cves.exists(c, cves.exists(d, d == c))`:   {"criteria_not_allowed", "inside another one"},
		`["a"].exists(c, c == name)`:               {"criteria_type", "over a field that is a list"},
		`cves.exists(name, name == "x")`:           {"criteria_type", "is a field"},
		`name.matches(origin)`:                     {"criteria_not_allowed", "a pattern in quotes"},
		`name.matches("(")`:                        {"criteria_syntax", "not a regular expression"},
		`name.matches("((a{100}){100}){100}")`:     {"criteria_syntax", "not a regular expression"},
		`age_seen > days(size)`:                    {"criteria_value", "written out"},
		`age_seen > days(99999999999)`:             {"criteria_value", "written out"},
		`age_seen > duration("2 days")`:            {"criteria_value", "written out"},
		`age_seen > 2`:                             {"criteria_type", "no matching overload"},
		`@order_versions("deb", version, "3") < 0`: {"criteria_syntax", "column 1"},
		"name == \"\xff\"":                         {"criteria_syntax", "UTF-8"},
		`name.contains("a", "b")`:                  {"criteria_type", "takes 1 arguments"},
		deep:                                       {"criteria_syntax", "Line 1"},
		many:                                       {"criteria_", ""},
		long:                                       {"criteria_too_long", "bytes"},
	} {
		_, err := criteria.CompileRule(source)
		var f *fault.Error
		if !errors.As(err, &f) || !strings.HasPrefix(f.Code, want[0]) || !strings.Contains(f.Message, want[1]) || !errors.Is(err, fault.Invalid) {
			t.Errorf("%.60s: %v; want %s with %q", source, err, want[0], want[1])
		}
	}
}

func TestT2_WhatCouldCostTooMuchDoesNotCompile(t *testing.T) {
	one := `origins.exists(o, o.matches("^[a-z]*(a|b|c|d)[a-z]*$"))`
	source := strings.Repeat(one+" || ", 9) + one
	_, err := criteria.CompileRule(source)
	if f := fault.From(err); err == nil || f.Code != "criteria_costly" {
		t.Errorf("%v", err)
	}
	if _, err := criteria.CompileRule(one); err != nil {
		t.Errorf("one of them is affordable: %v", err)
	}
}

func TestT2_WhatCostsTooMuchWhileItRunsHolds(t *testing.T) {
	u := openssl()
	for range 200_000 {
		u.Origins = append(u.Origins, strings.Repeat("x", 100))
	}
	if got, err := match(t, `origins.exists(o, o == "y")`, u); got || err == nil {
		t.Errorf("a list far over the caps was searched to its end: %v, %v", got, err)
	}
}

func TestSelection_IsOverDeviceFacts(t *testing.T) {
	d := criteria.Device{Now: now, Groups: []string{"Berlin", "Production", "All devices"}, Seen: now.Add(-time.Hour),
		Device: fleet.Device{ID: "d1", Name: "web-1", EnrolledAt: now.Add(-48 * time.Hour)},
		Facts: &wire.Facts{Hostname: "web-1.example", OS: "debian", OSVersion: "12", Codename: "bookworm", Arch: "amd64", Kernel: "6.1.0-28-amd64", Agent: "0.3.0",
			TimeZone: "Europe/Berlin", Restart: []string{"kernel"}, Posture: []wire.Finding{{Code: "trusted_yes"}}, Guard: fleet.BlockDeclined}}
	sel := func(source string) criteria.Selection {
		s, err := criteria.CompileSelection(source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		return s
	}
	for _, source := range []string{"", `id == "d1" && name == "web-1"`, `hostname.endsWith(".example")`, `group == "Berlin"`, `"Production" in groups`, `!test`,
		`os == "debian" && os_version >= "9" && os_version < "12.1"`, `codename == "bookworm"`, `arch == "amd64"`, `size(foreign) == 0`, `kernel < "6.1.0-100"`, `agent >= "0.3"`,
		`time_zone.startsWith("Europe/")`, `restart_pending`, `"trusted_yes" in findings`, `healthy`, `guard == "block_declined"`, `age_enrolled >= days(2)`, `last_seen <= hours(1)`} {
		if got, err := sel(source).Match(d); err != nil || !got {
			t.Errorf("%s: %v, %v", source, got, err)
		}
	}
	blank := criteria.Device{Now: now, Device: fleet.Device{ID: "d1", Name: "web-1"}}
	for _, f := range criteria.Devices().Fields() {
		source := map[criteria.Type]string{criteria.Bool: f.Name, criteria.List: "size(" + f.Name + ") == 0", criteria.Duration: f.Name + " > days(1)"}[f.Type]
		if source == "" {
			source = f.Name + ` == "` + strings.Join(append(f.Values, "x")[:1], "") + `"`
		}
		_, err := sel(source).Match(blank)
		if known := slices.Contains([]string{"id", "name", "hostname", "test"}, f.Name); known != (err == nil) {
			t.Errorf("%s of a device that never reported: %v", source, err)
		}
	}
}

// TestFields_EveryFieldCanBeAsked holds the table and the values together: no field without a value, none without words.
func TestFields_EveryFieldCanBeAsked(t *testing.T) {
	u := ledgerApp()
	u.Advisories = &criteria.Advisories{}
	for _, f := range criteria.Updates().Fields() {
		source := map[criteria.Type]string{criteria.Bool: f.Name, criteria.List: `"x" in ` + f.Name, criteria.Number: f.Name + " > 1", criteria.Duration: f.Name + " > days(1)"}[f.Type]
		if source == "" {
			source = f.Name + ` == "` + strings.Join(append(f.Values, "x")[:1], "") + `"`
		}
		if _, err := match(t, source, u); err != nil {
			t.Errorf("%s: %v", source, err)
		}
		if f.Doc == "" || len(f.Type.Ops()) == 0 {
			t.Errorf("%s is not documented", f.Name)
		}
	}
}

func TestNewMajor_IsTheEpochOrTheFirstNumber(t *testing.T) {
	for _, c := range []struct {
		eco, from, to string
		want, fails   bool
	}{
		{"deb", "3.0.16-1", "3.0.17-1", false, false}, {"deb", "3.9", "4.0", true, false}, {"deb", "1:3.0", "2:3.0", true, false}, {"deb", "", "4.0", false, false},
		{"deb", "03.1", "3.2", false, false}, {"deb", "x", "3.2", false, true}, {"deb", "3.2", "x", false, true}, {"rpm", "1:2.0-1.el9", "1:2.4-1.el9", false, false},
		{"rpm", "2.0-1.el9", "3.0-1.el9", true, false}, {"rpm", "r2-1", "r3-1", false, true}, {"generic", "1.9", "2.0.0", true, false}, {"generic", "0.1", "0.2", false, false}, {"npm", "1", "2", false, true},
	} {
		got, err := criteria.NewMajor(c.eco, c.from, c.to)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s from %q to %q: %v, %v", c.eco, c.from, c.to, got, err)
		}
	}
}

func TestRule_KnowsWhatItsAnswerDependsOn(t *testing.T) {
	r, err := criteria.CompileRule(`severity >= "high" && (new_major || name == "x" || name == "y")`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"name", "new_major", "severity"}, r.Reads()); diff != "" || !r.PerDevice() || r.ReadsAny("kev") {
		t.Error(diff)
	}
}

func TestRule_IsSafeForConcurrentUse(t *testing.T) {
	r, err := criteria.CompileRule(`name.matches("^open") && (kev || age_seen >= days(2)) && version < "4"`)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if got, err := r.Match(openssl()); !got || err != nil {
					t.Errorf("%v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCompletions_OfferWhatMayFollow(t *testing.T) {
	for before, want := range map[string][]string{
		"sev":                      {"severity"},
		"severity == \"h":          {"high"},
		"severity in [\"low\", \"": {"critical", "high", "low", "medium", "unrated"},
		"class == ":                {`"component"`, `"content"`, `"managed"`, `"third_party"`},
		"age_release >= d":         {"days(", "duration("},
		"kev == ":                  {"false", "true"},
		"name.":                    {"contains(", "endsWith(", "matches(", "startsWith("},
		"cves.e":                   {"exists("},
		"name == \"x":              {},
		"name.contains(\"sev":      {},
		"kev ":                     {"&&", "||"},
		"kev && age_":              {"age_release", "age_seen"},
	} {
		got := []string{}
		for _, c := range criteria.Updates().Completions(before) {
			got = append(got, c.Text)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", before, diff)
		}
	}
	if w := criteria.Word("kev && sev"); w != "sev" {
		t.Errorf("word %q", w)
	}
}
