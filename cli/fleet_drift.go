package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
)

// lastAct is the last act on a thing that differs: who made it other than the file says.
type lastAct struct {
	Act int64     `json:"act"`
	By  string    `json:"by"`
	At  time.Time `json:"at"`
}

func decidedBy(d approval.Decision) *lastAct { return &lastAct{Act: d.Act, By: d.By, At: d.At} }

// blame finds in the ledger who acted last on what differs. It looks at the newest 1000 acts of each kind; whoever may not read the ledger is
// told nothing.
func blame(ctx context.Context, c *client.Client, steps []step) error {
	kinds := map[string][]ledger.Kind{
		"group":    {ledger.GroupCreate{}.Kind(), ledger.GroupChange{}.Kind(), ledger.GroupDelete{}.Kind()},
		"task":     {ledger.TaskSet{}.Kind(), ledger.TaskRemove{}.Kind()},
		"decision": {ledger.UpdateDecide{}.Kind()},
	}
	found := history{last: map[string]lastAct{}, groups: map[string]fleet.GroupID{}}
	read := map[string]bool{}
	for _, s := range steps {
		if s.subject == "" || s.Last != nil || read[s.Kind] {
			continue
		}
		read[s.Kind] = true
		for _, kind := range kinds[s.Kind] {
			list, err := c.Ledger(ctx, client.LedgerQuery{Kind: kind, Limit: 1000})
			if errors.Is(err, fault.Forbidden) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("who changed what differs: %w", err)
			}
			for _, e := range list.Items {
				found.take(e)
			}
		}
	}
	for i, s := range steps {
		if s.subject != "" && s.Last == nil {
			steps[i].Last = found.of(s)
		}
	}
	return nil
}

// history is the newest act on each thing.
type history struct {
	last   map[string]lastAct
	groups map[string]fleet.GroupID // of groups that were, by name in lower case
}

func subjectGroup(id fleet.GroupID) string { return "group " + string(id) }
func subjectNamed(name string) string      { return "group named " + strings.ToLower(name) }
func subjectTask(id string) string         { return "task " + id }

func subjectDecision(update catalog.UpdateID, scope fleet.GroupID) string {
	return "decision " + string(update) + " " + string(scope)
}

// take remembers an entry, if none after it is known for the same thing.
func (h history) take(e client.LedgerRow) {
	if e.Omitted {
		return
	}
	body, err := e.Decode()
	if err != nil {
		return // of a later build
	}
	act := lastAct{Act: e.Seq, By: e.By, At: e.At}
	keep := func(subject string) {
		if h.last[subject].Act < act.Act {
			h.last[subject] = act
		}
	}
	switch b := body.(type) {
	case ledger.GroupCreate:
		h.groups[strings.ToLower(b.Group.Name)] = b.Group.ID
		keep(subjectGroup(b.Group.ID))
	case ledger.GroupChange:
		keep(subjectGroup(b.Group.ID))
	case ledger.GroupDelete:
		keep(subjectGroup(b.ID))
	case ledger.TaskSet:
		keep(subjectTask(b.Task.ID))
	case ledger.TaskRemove:
		keep(subjectTask(b.ID))
	case ledger.UpdateDecide:
		for _, u := range b.Updates {
			keep(subjectDecision(u.Update, b.Scope))
		}
	}
}

func (h history) of(s step) *lastAct {
	subject := s.subject
	if name, named := strings.CutPrefix(subject, subjectNamed("")); named {
		subject = subjectGroup(h.groups[name])
	}
	if act, ok := h.last[subject]; ok {
		return &act
	}
	return nil
}
