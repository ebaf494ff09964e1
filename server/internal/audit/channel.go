package audit

import (
	"fmt"
	"strings"

	"assent/ledger"
)

// channel says what became of a channel. What it proves itself with is not in the ledger.
func channel(b ledger.ChannelSet, n Names) string {
	c := b.Channel
	text := fmt.Sprintf("set the channel %q: %s to %q for %q, tells of %s", c.Name, c.Kind, c.Address, n.Group(c.Group), strings.Join(c.Events, ", "))
	if len(c.To) > 0 {
		text += fmt.Sprintf(", to %q", c.To)
	}
	if b.Secret {
		text += ", with a new secret"
	}
	if c.Paused {
		text += "; paused"
	}
	return text
}
