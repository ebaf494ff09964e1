package web

import (
	"fmt"

	"assent/client"
	"assent/fault"
)

func (s *server) createGroup(v *Visit) (string, error) {
	test := v.Form("test") == "yes"
	g, err := s.Roster.CreateGroup(v.Context(), v.Who(), client.GroupRequest{Name: v.Form("name"), Parent: v.Form("parent"), Guard: guardMode(v.Form("guard")), Test: &test})
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Created the group %s.", g.Name)})
	return groupHref(g.ID), nil
}

// changeGroup renames, moves, guards or marks a group: what differs from what was on the person's screen, in one
// act. What somebody else changed meanwhile stays.
func (s *server) changeGroup(v *Visit) (string, error) {
	g, err := seenGroup(v)
	if err != nil {
		return "", err
	}
	var r client.GroupRequest
	undo := &Form{Label: "Undo", Action: groupHref(g.ID) + "/change"}
	for _, f := range []struct {
		key string
		set func(string)
	}{
		{"name", func(text string) { r.Name = text }},
		{"parent", func(text string) { r.Parent = text }},
		{"guard", func(text string) { r.Guard = guardMode(text) }},
		{"test", func(text string) { on := text == "yes"; r.Test = &on }},
	} {
		next, was := v.Form(f.key), v.Form("was_"+f.key)
		if _, sent := v.Request.PostForm[f.key]; !sent || next == was {
			continue
		}
		f.set(next)
		undo.Fields = append(undo.Fields, Field{f.key, was}, Field{"was_" + f.key, next})
	}
	if len(undo.Fields) == 0 {
		v.Toast(Toast{Tone: "info", Text: "Nothing was changed."})
		return groupHref(g.ID), nil
	}
	if _, sent := v.Request.PostForm["name"]; sent && v.Form("name") == "" {
		return "", fault.New(fault.Invalid, "name_length", "A group has a name.").On("name")
	}
	after, err := s.Roster.ChangeGroup(v.Context(), v.Who(), string(g.ID), r)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("Changed the group %s.", after.Name)
	if r.Parent != "" {
		text = fmt.Sprintf("Moved the group %s below %s.", after.Name, groupName(v.Groups(), after.Parent))
	}
	v.Toast(Toast{Tone: "success", Text: text, Undo: undo})
	if v.Form("back") == "/groups" {
		undo.Fields = append(undo.Fields, Field{"back", "/groups"})
		return "/groups", nil
	}
	return groupHref(g.ID), nil
}

func (s *server) deleteGroup(v *Visit) (string, error) {
	g, err := seenGroup(v)
	if err != nil {
		return "", err
	}
	done, err := s.Roster.DeleteGroup(v.Context(), v.Who(), string(g.ID))
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Deleted the group %s.", g.Name), Link: actLink(v, done.Act)})
	return "/groups", nil
}
