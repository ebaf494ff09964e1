package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"assent/approval"
	"assent/pkgver"
)

// Known is an update that the server knows.
type Known struct {
	PURL       string   `json:"purl"`
	Name       string   `json:"name"` // of the source
	Version    string   `json:"version"`
	Title      string   `json:"title,omitempty"`
	Packages   []string `json:"packages,omitempty"` // names of its own files' packages
	Origins    []string `json:"origins,omitempty"`
	Advisories []string `json:"advisories,omitempty"`
	Needed     int      `json:"needed,omitempty"`   // devices that could take it
	Declined   []string `json:"declined,omitempty"` // names of the groups in which it is declined by itself; the root's is empty
}

// software is the package URL without its version: releases with the same one are of one software.
func (k Known) software() string {
	software, _, _ := strings.Cut(k.PURL, "@")
	return software
}

func (k Known) ecosystem() string {
	ecosystem, _, _ := strings.Cut(strings.TrimPrefix(k.PURL, "pkg:"), "/")
	return ecosystem
}

// titled reports whether a title that another product uses is that of the release: it has to name the version.
func (k Known) titled(title string) bool {
	return strings.EqualFold(title, k.Name+" "+k.Version) || k.Title != "" &&
		(strings.EqualFold(title, k.Title+" "+k.Version) || strings.EqualFold(title, k.Title) && strings.Contains(k.Title, k.Version))
}

// Searches are the words that find every update which the wishes may be about; an empty one means all updates.
func (d Draft) Searches() []string {
	var out []string
	for _, w := range d.Wishes {
		for _, p := range w.Names {
			out = append(out, p.literal())
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) > 0 && out[0] == "" {
		return []string{""}
	}
	return out
}

// Resolve makes decisions of the wishes, about the updates that are known. Each wish leads to a decision or a note.
func (d Draft) Resolve(known []Known) ([]Decision, []Note) {
	r := resolver{by: map[string]int{}}
	for _, w := range d.Wishes {
		r.wish(w, known)
	}
	slices.SortStableFunc(r.made, func(a, b Decision) int { return strings.Compare(a.Update+a.Group, b.Update+b.Group) })
	return r.made, r.notes.Notes
}

type resolver struct {
	made  []Decision
	by    map[string]int // update and group -> place in made
	notes Draft
}

func (r *resolver) wish(w Wish, known []Known) {
	var found []Known
	wider := map[string]bool{}
	for _, k := range known {
		is, more := w.about(k)
		if is {
			found = append(found, k)
			wider[k.Name] = wider[k.Name] || more
		}
	}
	if len(found) == 0 {
		r.notes.note(w.At, NotKnown, "%s", w.nothing())
		return
	}
	for _, k := range w.pick(found) {
		r.take(w, k)
	}
	for _, name := range sortedKeys(wider) {
		if wider[name] {
			r.notes.note(w.At, Differs, "The decision is about the whole release of %s: Assent decides by source package, and it has other packages too.", plain(name))
		}
	}
}

// about reports whether the wish means an update.
func (w Wish) about(k Known) (is, wider bool) {
	for _, p := range w.Names {
		one, more := p.matches(k)
		is, wider = is || one, wider || more
	}
	switch {
	case !is:
	case w.Version != "" && !glob(w.Version, k.Version),
		w.Not != "" && glob(w.Not, k.Version),
		w.Needed && k.Needed == 0,
		w.Newer != "" && !newer(k, w.Newer),
		len(w.Archives) > 0 && !w.only(k):
		return false, false
	}
	return is, wider
}

// newer reports whether a release is newer than a version. What cannot be compared counts as newer: unknown holds.
func newer(k Known, than string) bool {
	order, err := pkgver.Compare(k.ecosystem(), k.Version, than)
	return err != nil || order > 0
}

// only reports whether all archives of a release are of those that the wish names.
func (w Wish) only(k Known) bool {
	return len(k.Origins) > 0 && !slices.ContainsFunc(k.Origins, func(o string) bool {
		return !slices.ContainsFunc(w.Archives, func(a Archive) bool { return a.has(o) })
	})
}

// pick is what of the matches is decided on: of each software the oldest with all later ones, the newest, or all.
func (w Wish) pick(found []Known) []Known {
	if !w.Later && !w.Newest {
		return found
	}
	best := map[string]Known{}
	for _, k := range found {
		old, there := best[k.software()]
		if !there || newer(k, old.Version) == w.Newest {
			best[k.software()] = k
		}
	}
	out := make([]Known, 0, len(best))
	for _, name := range sortedKeys(best) {
		out = append(out, best[name])
	}
	return out
}

func (r *resolver) take(w Wish, k Known) {
	d := Decision{At: w.At, Update: k.PURL, Status: w.Status, Group: w.Group, Reason: w.Reason, Reach: approval.Reach{Later: w.Later && w.Status == approval.Declined}}
	key := strings.ToLower(d.Group) + "\x00" + d.Update
	i, there := r.by[key]
	switch {
	case d.Status == approval.Approved && slices.ContainsFunc(k.Declined, func(g string) bool { return strings.EqualFold(g, d.Group) }):
		r.notes.note(w.At, LeftOut, "%s %s is declined here, and no import lifts a decline; `assent update approve --lift` does.", plain(k.Name), plain(k.Version))
	case !there:
		r.by[key] = len(r.made)
		r.made = append(r.made, d)
	case r.made[i].Status == d.Status:
		r.made[i].Reach.Later = r.made[i].Reach.Later || d.Reach.Later
	default:
		lost := r.made[i].At
		if d.Status == approval.Declined {
			r.made[i] = d
		} else {
			lost = d.At
		}
		r.notes.note(lost, LeftOut, "%s %s is approved here and declined at %s: the decline counts.", plain(k.Name), plain(k.Version), r.made[i].At)
	}
}

// nothing says of a wish that no known update is meant.
func (w Wish) nothing() string {
	var names []string
	for _, p := range w.Names[:min(len(w.Names), 3)] {
		names = append(names, p.String())
	}
	what := strings.Join(names, " ")
	if len(w.Names) > 3 {
		what += fmt.Sprintf(" and %d more", len(w.Names)-3)
	}
	switch {
	case w.Later && (w.Newer != "" || w.Needed):
		return fmt.Sprintf("This server knows no newer release of %s, so there is nothing to decline yet; import again when there is one.", what)
	case w.Version != "":
		return fmt.Sprintf("This server knows no release %s of %s.", plain(w.Version), what)
	}
	return fmt.Sprintf("This server knows no update of %s.", what)
}

// sortedKeys are the keys of a map in their order, so that the same input gives the same words.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
