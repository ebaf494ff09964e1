package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
)

// decideBefore looks at what an act is about to change, so that it can be taken back exactly; nil for too many. The
// decisions are the same from wherever one looks, so it looks from where there are the fewest devices to tell of.
func (s *server) decideBefore(v *Visit, changed []client.UpdateRef) ([]client.UpdateDetail, error) {
	if len(changed) > maxUndo || len(v.Groups()) == 0 {
		return nil, nil
	}
	out := make([]client.UpdateDetail, 0, len(changed))
	from := slices.MinFunc(v.Groups(), func(a, b client.GroupRow) int { return cmp.Compare(a.Below, b.Below) }).ID
	for _, u := range changed {
		detail, err := s.Decide.Get(v.Context(), v.Who(), string(u.ID), string(from))
		if err != nil {
			return nil, err
		}
		detail.Devices = nil
		out = append(out, detail)
	}
	return out, nil
}

// ownDecision is the decision on an update in one scope that counts now.
func ownDecision(u client.UpdateDetail, scope fleet.GroupID) (approval.Decision, bool) {
	for _, d := range u.Decisions {
		if d.Update == u.ID && d.Scope == scope && (d.Expires.IsZero() || d.Expires.After(time.Now())) {
			return d, true
		}
	}
	return approval.Decision{}, false
}

// decideInverse is what takes an act back: one act that puts all of its updates where they stood. It is there only
// if there is one such act, and if it would approve no file that was not approved before.
func decideInverse(d client.Decide, done client.Outcome, before []client.UpdateDetail) (client.Decide, bool) {
	if done.Act == 0 || len(before) == 0 || len(before) != len(done.Changed) {
		return client.Decide{}, false
	}
	var out client.Decide
	for i, u := range before {
		was := client.Decide{Scope: d.Scope, Status: approval.Undefined}
		if own, ok := ownDecision(u, fleet.GroupID(d.Scope)); ok {
			if own.Status == approval.Approved && own.Rev != u.Rev {
				return client.Decide{}, false
			}
			was.Status, was.Reason, was.Expires, was.Reach = own.Status, own.Reason, own.Expires, own.Reach
		}
		if i == 0 {
			out = was
		}
		if was.Status != out.Status || was.Reason != out.Reason || !was.Expires.Equal(out.Expires) || was.Reach != out.Reach {
			return client.Decide{}, false
		}
		out.Updates = append(out.Updates, string(u.ID))
	}
	return out, true
}

// undoForm is the button that takes an act back.
func undoForm(d client.Decide, done client.Outcome, before []client.UpdateDetail) *Form {
	back, ok := decideInverse(d, done, before)
	if !ok {
		return nil
	}
	fields := []Field{{"act", strconv.FormatInt(done.Act, 10)}, {"was", string(d.Status)}, {"scope", back.Scope}, {"status", string(back.Status)}, {"reason", back.Reason},
		{"through", back.Reach.Through}, {"digest", digestsOf(before)}}
	if !back.Expires.IsZero() {
		fields = append(fields, Field{"expires", back.Expires.UTC().Format(time.RFC3339Nano)})
	}
	if back.Reach.Later {
		fields = append(fields, Field{"later", "1"})
	}
	for _, id := range back.Updates {
		fields = append(fields, Field{"select", id})
	}
	return &Form{Label: "Undo", Action: "/updates/decide/undo", Fields: fields}
}

// digestsOf names exactly these updates with these files.
func digestsOf(updates []client.UpdateDetail) string {
	var b strings.Builder
	for _, u := range updates {
		fmt.Fprintf(&b, "%.16s.", u.Digest)
	}
	return b.String()
}

// decideToast says what happened.
func decideToast(d client.Decide, done client.Outcome, before []client.UpdateDetail, scope string) Toast {
	if done.Act == 0 {
		return Toast{Tone: "info", Text: "Nothing changed." + skippedText(done.Skipped)}
	}
	p := done.Preview
	parts := []string{}
	add := func(n int, text string) {
		if n > 0 {
			parts = append(parts, text)
		}
	}
	add(p.Installs, plural(p.Installs, "install", "installs"))
	add(p.Withdrawn, plural(p.Withdrawn, "planned install", "planned installs")+" withdrawn")
	add(p.Removals, plural(p.Removals, "install", "installs")+" taken back")
	add(int(min(p.Download, 1)), bytesText(p.Download)+" to download")
	text := fmt.Sprintf("%s %s in %s (act %d).", decidedWord(d.Status), namesOf(done.Changed), scope, done.Act)
	if len(parts) > 0 {
		text += " On " + plural(p.Devices, "device", "devices") + ": " + strings.Join(parts, ", ") + "."
	}
	t := Toast{Tone: "success", Text: text + skippedText(done.Skipped), Undo: undoForm(d, done, before)}
	if len(done.Changed) == 1 {
		t.Link = &Link{"Show it", updateHref(string(done.Changed[0].ID))}
	}
	if t.Undo == nil {
		t.Text += " It cannot be undone with one click: there are too many, or they stood differently before."
	}
	return t
}

func decidedWord(status approval.Status) string {
	switch status {
	case approval.Approved:
		return "Approved"
	case approval.Declined:
		return "Declined"
	}
	return "Set back to undefined:"
}

func namesOf(all []client.UpdateRef) string {
	if len(all) > 3 {
		return plural(len(all), "update", "updates")
	}
	return strings.Join(mapped(all, func(u client.UpdateRef) string { return u.Name + " " + u.Version }), ", ")
}

func skippedText(all []client.Skipped) string {
	if len(all) == 0 {
		return ""
	}
	why := map[string]int{}
	for _, s := range all {
		why[s.Code]++
	}
	parts := mapped(slices.Sorted(maps.Keys(why)), func(code string) string { return fmt.Sprintf("%d %s", why[code], words(code)) })
	return " Left alone: " + strings.Join(parts, ", ") + "."
}

// errDecidedSince refuses to take back what is not as the act left it.
var errDecidedSince = fault.New(fault.Conflict, "decided_since", "Somebody decided on it again, or it has other files now, so this act is not taken back. Look at the update and decide anew.")

// decideUndo takes an act back, if everything still stands as it left it.
func (s *server) decideUndo(v *Visit) (string, error) {
	act, err := strconv.ParseInt(v.Form("act"), 10, 64)
	ids := given(v.Fields("select"))
	if err != nil || act < 1 || len(ids) == 0 || len(ids) > maxUndo || v.Form("scope") == "" {
		return "", fault.New(fault.Invalid, "undo_invalid", "This does not say which act to take back.").On("act")
	}
	if !inScope(v, fleet.GroupID(v.Form("scope"))) {
		return "", fault.New(fault.NotFound, "group_unknown", "There is no group %.80q, or you may not see it.", v.Form("scope")).On("scope")
	}
	d := client.Decide{Updates: ids, Scope: v.Form("scope"), Status: approval.Status(v.Form("status")), Reason: v.Form("reason"), Lift: true, AllowSuperseded: true,
		Reach: approval.Reach{Later: v.Form("later") != "", Through: v.Form("through")}}
	if d.Status == approval.Undefined {
		d.Lift, d.AllowSuperseded, d.Reason = false, false, fmt.Sprintf("Undo of act %d", act)
	}
	if d.Expires, err = dateOf(v.Form("expires"), "expires"); err != nil {
		return "", err
	}
	now, err := s.decideBefore(v, mapped(ids, func(id string) client.UpdateRef { return client.UpdateRef{ID: catalog.UpdateID(id)} }))
	if err != nil {
		return "", err
	}
	for _, u := range now {
		own, there := ownDecision(u, fleet.GroupID(d.Scope))
		if there == (v.Form("was") == string(approval.Undefined)) || there && own.Act != act {
			return "", errDecidedSince
		}
	}
	if d.Status == approval.Approved && v.Form("digest") != digestsOf(now) {
		return "", errDecidedSince
	}
	done, err := s.Decide.Decide(v.Context(), v.Who(), d)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Took act %d back (act %d): %s %s.", act, done.Act, namesOf(done.Changed), undoneWord(d.Status))})
	if len(ids) == 1 {
		return updateHref(ids[0]), nil
	}
	return "/updates", nil
}

func undoneWord(status approval.Status) string {
	if status == approval.Undefined {
		return "undecided here again"
	}
	return words(status) + " again"
}
