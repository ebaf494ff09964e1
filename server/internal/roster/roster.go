// Package roster is the service behind devices, groups, enrolment tokens, operators and access tokens.
//
// Guarantees: permission is checked here, below every face: whoever changes devices, groups, tokens or
// people is an administrator where they change it, and nobody gives away more than they have; names can
// be told apart by eye; each change is one act in the ledger; secrets leave the server once, in the answer
// that made them, and only their hashes are kept.
//
// It keeps no state of its own, and it decides nothing about updates.
package roster

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// Reader lists and shows devices; *decide.Service is one.
type Reader interface {
	Devices(ctx context.Context, who auth.Actor, q client.DeviceQuery, p client.Page) (client.List[client.DeviceRow], error)
	// Device shows a device without its events.
	Device(ctx context.Context, who auth.Actor, ref string) (client.DeviceDetail, error)
	// Inventory lists what is installed on a device.
	Inventory(ctx context.Context, who auth.Actor, ref string, q client.InventoryQuery, p client.Page) (client.List[client.PackageInfo], error)
}

// Events lists what devices reported; *audit.Service is one.
type Events interface {
	Events(ctx context.Context, who auth.Actor, q client.EventQuery) (client.List[client.Event], error)
}

// Config is what New needs.
type Config struct {
	Index  *index.Index
	Reader Reader
	Events Events
	CA     []byte // certificate of the device CA, DER: its fingerprint is part of every enrolment token
	Server string // URL that agents reach the server at, for the command line that comes with a token
	// LastUsed says when an access token was last let in, for lists; may be nil.
	LastUsed UsedFunc
	// Refresh passes on that devices shall look for updates now; nil: nobody can be asked.
	Refresh func([]fleet.DeviceID)
	// Rehearse passes on that they shall rehearse their plans now; nil: nobody can be asked.
	Rehearse func([]fleet.DeviceID)
	Log      *slog.Logger
}

// Service answers. It is safe for concurrent use.
type Service struct {
	Reader
	events   Events
	index    *index.Index
	ca       []byte
	server   string
	lastUsed UsedFunc
	refresh  func([]fleet.DeviceID)
	rehearse func([]fleet.DeviceID)
	log      *slog.Logger
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Index == nil || c.Reader == nil || c.Events == nil || len(c.CA) == 0 {
		return nil, fmt.Errorf("roster: an index, readers of devices and of events and the certificate of the CA are needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{Reader: c.Reader, events: c.Events, index: c.Index, ca: c.CA, server: c.Server, lastUsed: c.LastUsed, refresh: c.Refresh, rehearse: c.Rehearse, log: c.Log}, nil
}

// act makes one act and logs it.
func (s *Service) act(ctx context.Context, who auth.Actor, build func(v *index.View) (ledger.Body, error)) (client.Act, error) {
	entry, err := s.index.Act(ctx, who.Name, build)
	if err != nil {
		return client.Act{}, err
	}
	if entry.Seq != 0 {
		s.log.Info("act", "act", entry.Seq, "kind", entry.Kind, "by", who.Name)
	}
	return client.Act{Act: entry.Seq, At: entry.At}, nil
}

// scope finds a group in which the actor holds a role.
func scope(v *index.View, who auth.Actor, role ledger.Role, ref string, fallback fleet.GroupID) (fleet.Group, error) {
	if ref == "" {
		ref = string(fallback)
	}
	g, ok := v.Tree().Find(ref)
	if !ok {
		return fleet.Group{}, fault.New(fault.NotFound, "group_unknown", "There is no group %.80q; `assent group list` shows all.", ref).On("group")
	}
	return g, who.Can(role, v.Tree(), g.ID)
}

// The longest name and the longest text that is kept.
const (
	maxName = 64
	maxText = 2000
)

// checkName refuses a name that cannot be told apart by eye: 1 to 64 printable characters, no spaces at
// the ends or in a row, no control, format or direction characters.
func checkName(name, field string) error {
	n := utf8.RuneCountInString(name)
	switch {
	case n == 0 || n > maxName:
		return fault.New(fault.Invalid, "name_length", "A name has 1 to %d characters; this one has %d.", maxName, n).On(field)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fault.New(fault.Invalid, "name_unprintable", "A name consists of printable characters.").On(field)
	case strings.TrimSpace(name) != name || strings.Contains(name, "  "):
		return fault.New(fault.Invalid, "name_spaces", "A name has no spaces at its ends and no two in a row.").On(field)
	}
	return nil
}

// checkText refuses a reason or note that cannot be shown as it was meant.
func checkText(s, field string) error {
	if utf8.RuneCountInString(s) > maxText {
		return fault.New(fault.Invalid, field+"_too_long", "The %s has more than %d characters; shorten it.", field, maxText).On(field)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fault.New(fault.Invalid, field+"_invalid", "The %s contains control characters; give plain text.", field).On(field)
	}
	return nil
}

// newID makes a random id with a letter in front.
func newID(prefix string) string {
	var b [10]byte
	rand.Read(b[:]) // never fails
	return prefix + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}
