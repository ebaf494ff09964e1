package fleet_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/fleet"
)

func tree(t *testing.T, groups ...fleet.Group) fleet.Tree {
	t.Helper()
	tr, err := fleet.NewTree(append([]fleet.Group{{ID: fleet.Root, Name: fleet.RootName}}, groups...))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestTree_PathSubtreeAndInheritedGuard(t *testing.T) {
	tr := tree(t, fleet.Group{ID: "b", Name: "Berlin", Parent: "p"}, fleet.Group{ID: "p", Name: "Production", Parent: fleet.Root, Guard: fleet.ApprovedOnly}, fleet.Group{ID: "t", Name: "Test", Parent: fleet.Root})
	if diff := cmp.Diff([]fleet.GroupID{"b", "p", fleet.Root}, tr.Path("b")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]fleet.GroupID{fleet.Root, "p", "t", "b"}, tr.Subtree(fleet.Root)); diff != "" {
		t.Error(diff)
	}
	if tr.Guard("b") != fleet.ApprovedOnly || tr.Guard("t") != fleet.BlockDeclined {
		t.Errorf("guard %s, %s", tr.Guard("b"), tr.Guard("t"))
	}
	if g, ok := tr.Find("berlin"); !ok || g.ID != "b" {
		t.Errorf("%+v", g)
	}
	if !tr.Contains("p", "b") || tr.Contains("b", "p") || tr.Contains("t", "b") {
		t.Error("containment")
	}
	if len(tr.Path("nowhere")) != 0 {
		t.Error("an unknown group has a path")
	}
}

func TestTree_RefusesWhatIsNotOneTree(t *testing.T) {
	root := fleet.Group{ID: fleet.Root, Name: fleet.RootName}
	for name, groups := range map[string][]fleet.Group{
		"no root":        {{ID: "a", Name: "A", Parent: fleet.Root}},
		"cycle":          {root, {ID: "a", Name: "A", Parent: "b"}, {ID: "b", Name: "B", Parent: "a"}},
		"own parent":     {root, {ID: "a", Name: "A", Parent: "a"}},
		"unknown parent": {root, {ID: "a", Name: "A", Parent: "x"}},
		"same name":      {root, {ID: "a", Name: "Test", Parent: fleet.Root}, {ID: "b", Name: "TEST", Parent: fleet.Root}},
		"same id":        {root, {ID: "a", Name: "A", Parent: fleet.Root}, {ID: "a", Name: "B", Parent: fleet.Root}},
		"no name":        {root, {ID: "a", Name: " ", Parent: fleet.Root}},
		"bad guard":      {root, {ID: "a", Name: "A", Parent: fleet.Root, Guard: "maybe"}},
		"second root":    {root, {ID: "a", Name: "A"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := fleet.NewTree(groups); err == nil {
				t.Error("accepted")
			}
		})
	}
}
