package publish

import (
	"testing"

	"assent/catalog"
	"assent/feed"
)

func TestStuck_ReleasesThatRequireEachOtherOrWhatIsMissing(t *testing.T) {
	release := func(name, version string, requires ...catalog.Requirement) feed.Release {
		return feed.Release{Release: catalog.Release{Software: catalog.Software{Ecosystem: catalog.Generic, Namespace: "feed.acme", Name: name}, Version: version},
			Manifest: feed.Manifest{Requires: requires}}
	}
	on := func(name, version string) catalog.Requirement {
		return catalog.Requirement{Application: name, Version: version}
	}
	for name, tc := range map[string]struct {
		all  []feed.Release
		want int
	}{
		"none":              {[]feed.Release{release("a", "1"), release("b", "1", on("a", "1"))}, 0},
		"cycle":             {[]feed.Release{release("a", "1", on("b", "1")), release("b", "1", on("a", "1"))}, 2},
		"broken by another": {[]feed.Release{release("a", "1"), release("a", "2", on("b", "1")), release("b", "1", on("a", "1"))}, 0},
		"a newer one meets": {[]feed.Release{release("a", "3"), release("b", "1", on("a", "2"))}, 0},
		"an older does not": {[]feed.Release{release("a", "1"), release("b", "1", on("a", "2"))}, 1},
		"behind a cycle":    {[]feed.Release{release("a", "1", on("b", "1")), release("b", "1", on("a", "1")), release("c", "1", on("a", "1"))}, 3},
	} {
		if got := stuck(tc.all); len(got) != tc.want {
			t.Errorf("%s: %d stuck, want %d", name, len(got), tc.want)
		}
	}
}
