package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/client"
	"assent/fault"
	"assent/ledger"
)

// ledgerRoutes are the part of the table about the record of decisions. It shows the whole installation.
func (s *server) ledgerRoutes() []Route {
	return slices.Concat([]Route{
		page(ViewerOfAll, http.MethodGet, "/ledger", "ledger", s.ledgerPage),
		page(ViewerOfAll, http.MethodGet, "/ledger/{act}", "ledger_entry", s.ledgerEntry),
		page(ViewerOfAll, http.MethodGet, "/ledger/checkpoint", "ledger_checkpoint", s.checkpoint),
		answer(ViewerOfAll, http.MethodGet, "/ledger/checkpoint.txt", s.checkpointFile),
		answer(ViewerOfAll, http.MethodGet, "/ledger/export", s.exportLedger),
	}, s.exports(ViewerOfAll, "/ledger", s.ledgerTable))
}

// ledgerView is the list of entries, the newest first.
type ledgerView struct {
	Table Table
	On    string // looks on further back, where nothing was found so far
}

// maxLooks bounds how often the ledger is asked for one page: each look is over 20,000 entries at most.
const maxLooks = 5

func (s *server) ledgerPage(v *Visit) (ledgerView, error) {
	v.Title = "Ledger"
	p, err := paging(v)
	if err != nil {
		return ledgerView{}, err
	}
	t, err := s.ledgerTable(v, p)
	if err != nil {
		return ledgerView{}, err
	}
	view := ledgerView{Table: t}
	if len(t.Chips()) > 0 {
		view.Table.Many = "entries looked through" // how many match is known only when all were read
	}
	if len(t.Rows) == 0 && t.Next != "" {
		view.On = t.NextHref()
	}
	return view, nil
}

// ledgerTable is one page of the ledger. The cursor is the number of the last entry that was looked at.
func (s *server) ledgerTable(v *Visit, p client.Page) (Table, error) {
	if err := s.still(v); err != nil { // an export asks page by page
		return Table{}, err
	}
	q, err := ledgerQuery(v.Query(), p)
	if err != nil {
		return Table{}, err
	}
	list, err := s.entries(v, q)
	if err != nil {
		return Table{}, err
	}
	t := Table{ID: "ledger", One: "entry", Many: "entries", Total: list.Total, Next: list.Next, Search: "the exact name of who did it", Export: true,
		Filters: []Filter{{Key: "kind", Label: "Kind", Options: mapped(kinds(), func(k ledger.Kind) Option { return Option{string(k), string(k)} })}},
		Columns: []Column{{Key: "act", Label: "Act", Number: true}, {Key: "at", Label: "When"}, {Key: "by", Label: "By"}, {Key: "what", Label: "What"}, {Key: "kind", Label: "Kind", Extra: true}},
		Empty:   Empty{Text: "The ledger is empty."}}
	t.Rows = mapped(list.Items, ledgerRow)
	return t.finish(v)
}

func ledgerRow(e client.LedgerRow) Row {
	href := fmt.Sprintf("/ledger/%d", e.Seq)
	return Row{ID: fmt.Sprint(e.Seq), Label: fmt.Sprintf("act %d", e.Seq), Href: href, Value: e, Cells: []Cell{number(e.Seq).to(href), moment(e.At),
		linked(e.By, "/ledger?"+url.Values{"search": {e.By}}.Encode()), plain(e.Text), plain(string(e.Kind))}}
}

// ledgerQuery reads the filter of the list. A kind that does not exist is refused: nothing would match, without a word.
func ledgerQuery(q url.Values, p client.Page) (client.LedgerQuery, error) {
	out := client.LedgerQuery{By: strings.TrimSpace(q.Get("search")), Limit: p.Limit}
	if p.Limit == 0 {
		out.Limit = 100
	}
	if p.Sort != "" {
		return out, fault.New(fault.Invalid, "sort_unknown", "The ledger stands in its own order.").On("sort")
	}
	chosen, err := oneOf(q, "kind", kinds()...)
	switch {
	case err != nil:
		return out, err
	case len(chosen) > 1:
		return out, fault.New(fault.Invalid, "value_unknown", "Choose one kind.").On("kind")
	case len(chosen) == 1:
		out.Kind = chosen[0]
	}
	if p.Cursor == "" {
		return out, nil
	}
	if out.Before, err = strconv.ParseInt(p.Cursor, 10, 64); err != nil || out.Before < 1 {
		return out, fault.New(fault.Invalid, "cursor_invalid", "%.80q is no page of the ledger.", p.Cursor).On("cursor")
	}
	return out, nil
}

// entries fills a page: where few entries match, one look finds few.
func (s *server) entries(v *Visit, q client.LedgerQuery) (client.List[client.LedgerRow], error) {
	want := q.Limit
	whole, err := s.Audit.Entries(v.Context(), q)
	for range maxLooks - 1 {
		if err != nil || whole.Next == "" || len(whole.Items) >= want {
			break
		}
		if q.Before, err = strconv.ParseInt(whole.Next, 10, 64); err != nil {
			return whole, fmt.Errorf("the next page of the ledger, %q, is no number: %w", whole.Next, err)
		}
		q.Limit = want - len(whole.Items)
		var more client.List[client.LedgerRow]
		more, err = s.Audit.Entries(v.Context(), q)
		whole.Items, whole.Next = append(whole.Items, more.Items...), more.Next
	}
	return whole, err
}

// kinds are all kinds of entries.
func kinds() []ledger.Kind {
	return mapped([]ledger.Body{ledger.UpdateDecide{}, ledger.UpdateDeploy{}, ledger.DeployEnd{}, ledger.UpdateRollback{}, ledger.ExceptionAdd{}, ledger.ExceptionRemove{},
		ledger.AgreementAccept{}, ledger.AgreementWithdraw{}, ledger.ContentVerify{}, ledger.PackageCreate{}, ledger.PackageDelete{}, ledger.ChannelSet{}, ledger.ChannelRemove{}, ledger.ChannelTest{}, ledger.FeedSubscribe{}, ledger.FeedUnsubscribe{},
		ledger.DeviceEnrol{}, ledger.DeviceRenew{}, ledger.DeviceMove{}, ledger.DeviceState{}, ledger.GroupCreate{}, ledger.GroupChange{}, ledger.GroupDelete{},
		ledger.TokenCreate{}, ledger.TokenRevoke{}, ledger.OperatorSet{}, ledger.OperatorRemove{}, ledger.AccessCreate{}, ledger.AccessRevoke{},
		ledger.ViewShare{}, ledger.ViewRemove{}, ledger.PasswordSet{}, ledger.PasswordRemove{}, ledger.PasskeyAdd{}, ledger.PasskeyRemove{}, ledger.SessionEnd{}, ledger.TaskSet{}, ledger.TaskRemove{}, ledger.RolloutStep{}, ledger.ServerInit{}}, ledger.Body.Kind)
}

// entryView is one entry.
type entryView struct {
	Seq          int64
	At           time.Time
	By           string
	Kind         string
	Text         string
	Body         string // indented; empty if it is too long for a page
	Omitted      bool
	Before, Next string // its neighbours
}

func (s *server) ledgerEntry(v *Visit) (entryView, error) {
	seq, err := strconv.ParseInt(v.Path("act"), 10, 64)
	missing := fault.New(fault.NotFound, "act_unknown", "There is no act %.80q in the ledger.", v.Path("act")).On("act")
	if err != nil || seq < 1 {
		return entryView{}, missing
	}
	list, err := s.Audit.Entries(v.Context(), client.LedgerQuery{Before: seq + 1, Limit: 1})
	if err != nil {
		return entryView{}, err
	}
	if len(list.Items) != 1 || list.Items[0].Seq != seq {
		return entryView{}, missing
	}
	e := list.Items[0]
	v.Title, v.Crumbs = fmt.Sprintf("Act %d", seq), []Crumb{{"Ledger", "/ledger"}}
	view := entryView{Seq: e.Seq, At: e.At, By: e.By, Kind: string(e.Kind), Text: e.Text, Omitted: e.Omitted}
	var body bytes.Buffer
	if !e.Omitted && json.Indent(&body, e.Body, "", "  ") == nil {
		view.Body = body.String()
	}
	if seq > 1 {
		view.Before = fmt.Sprintf("/ledger/%d", seq-1)
	}
	if seq < int64(list.Total) {
		view.Next = fmt.Sprintf("/ledger/%d", seq+1)
	}
	return view, nil
}

// checkpointView is the ledger's signed head and how to verify an export with it.
type checkpointView struct{ client.Checkpoint }

func (s *server) checkpoint(v *Visit) (checkpointView, error) {
	v.Title, v.Crumbs = "Checkpoint", []Crumb{{"Ledger", "/ledger"}}
	c, err := s.Audit.Checkpoint(v.Context())
	return checkpointView{c}, err
}

// checkpointFile is the signed note as a file, to be kept apart.
func (s *server) checkpointFile(w http.ResponseWriter, v *Visit) error {
	c, err := s.Audit.Checkpoint(v.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="assent-checkpoint-%d.txt"`, c.Size))
	send(w, v.Request, http.StatusOK, "text/plain; charset=utf-8", []byte(c.Note))
	return nil
}

// exportLedger sends the whole ledger. What goes wrong after the first byte breaks the connection, so that half an
// export never looks whole; and verifying it would tell. It stops when the person's access ends.
func (s *server) exportLedger(w http.ResponseWriter, v *Visit) error {
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Content-Disposition", `attachment; filename="assent-ledger.jsonl"`)
	if err := s.Audit.Export(v.Context(), w, func() error { return s.still(v) }); err != nil {
		s.Log.Error("ledger export broke off", "operator", v.Session.Name, slog.Any("error", err))
		panic(http.ErrAbortHandler)
	}
	return nil
}

// still refuses a person who was signed out, or lost their role or scope, since the request began.
func (s *server) still(v *Visit) error {
	if _, who, ok := s.current(v.Request); !ok || who.Actor != v.Who() {
		return errSignedIn
	}
	return nil
}
