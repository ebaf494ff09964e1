package notify

import (
	"encoding/json"
	"fmt"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/ledger"
)

// told is what an entry of the ledger gives a channel to tell, if anything. Kinds that it does not know are nothing to
// tell: a newer server may write them.
func told(e ledger.Entry, c ledger.Channel, tree fleet.Tree, public string) (Notice, bool) {
	n := Notice{Act: e.Seq}
	var ok bool
	switch e.Kind {
	case ledger.UpdateDecide{}.Kind():
		n.Event = client.NoticeDecline
		ok = declined(e, c, tree, &n)
	case ledger.RolloutStep{}.Kind():
		n.Event = client.NoticeHalt
		ok = halted(e, &n)
	}
	if n.Link == "" {
		n.Link = link(public, fmt.Sprintf("/ledger/%d", e.Seq))
	}
	return n, ok
}

// meets reports whether what counts in a scope concerns the devices of a group.
func meets(tree fleet.Tree, scope, group fleet.GroupID) bool {
	return tree.Contains(group, scope) || tree.Contains(scope, group)
}

func declined(e ledger.Entry, c ledger.Channel, tree fleet.Tree, n *Notice) bool {
	var b ledger.UpdateDecide
	if json.Unmarshal(e.Body, &b) != nil || b.Status != approval.Declined || len(b.Updates) == 0 || !meets(tree, b.Scope, c.Group) {
		return false
	}
	var names []string
	for _, u := range b.Updates {
		names = append(names, name(u.Release.Name+" "+u.Release.Version))
		n.Updates = append(n.Updates, string(u.Update))
	}
	scope := string(b.Scope)
	if g, ok := tree.Get(b.Scope); ok {
		scope = g.Name
	}
	n.Text = fmt.Sprintf("%s declined %s in %s%s.", name(e.By), some(names), name(scope), because(b.Reason))
	return true
}

// step is what a step of a rollout says, as far as it is told of. It is read leniently: it is for people.
type step struct {
	Task        string           `json:"task"`
	Update      catalog.UpdateID `json:"update"`
	Release     catalog.Release  `json:"release"`
	Ring        string           `json:"ring"`
	Verb        string           `json:"verb"`
	Why         string           `json:"why"`
	Transitions []struct {
		Ring   string `json:"ring"`
		From   string `json:"from"`
		To     string `json:"to"`
		Reason struct {
			Text string `json:"text"`
		} `json:"reason"`
	} `json:"transitions"`
}

// halted reads a step of a rollout: one that halts it is one message, however many rings it halts.
func halted(e ledger.Entry, n *Notice) bool {
	var b step
	if json.Unmarshal(e.Body, &b) != nil {
		return false
	}
	stops, why, ring := b.Verb == "halt", b.Why, b.Ring
	for _, t := range b.Transitions {
		if t.To != "halted" || t.From == t.To {
			continue
		}
		if t.Ring != "" {
			n.Lines = append(n.Lines, fmt.Sprintf("ring %s%s", name(t.Ring), because(t.Reason.Text)))
		}
		if !stops || why == "" {
			why = t.Reason.Text
		}
		if !stops && t.Ring != "" {
			ring = t.Ring
		}
		stops = true
	}
	if !stops {
		return false
	}
	what := "the update " + string(b.Update)
	if b.Release.Name != "" {
		what = b.Release.Name + " " + b.Release.Version
	}
	where := ""
	if ring != "" {
		where = " in the ring " + name(ring)
	}
	by := ""
	if b.Verb == "halt" {
		by = " by " + name(e.By)
	}
	n.Text = fmt.Sprintf("The rollout of %s was halted%s%s%s.", name(what), by, where, because(why))
	n.Task, n.Updates = name(b.Task), []string{name(string(b.Update))}
	return true
}
