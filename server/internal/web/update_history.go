package web

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/ledger"
)

// updateHistoryRoutes are the part of the table about what was ever decided on an update. It reads the ledger, which
// shows the whole installation.
func (s *server) updateHistoryRoutes() []Route {
	return []Route{fragment(ViewerOfAll, http.MethodGet, "/updates/{update}/history", "update_history", s.updateHistory)}
}

// historyEntries bounds how many acts of each kind are looked through for one update.
const historyEntries = 1000

// updateHistoryView is what was decided on an update, the newest first.
type updateHistoryView struct {
	Items   []historyRow
	Unread  int       // acts whose list of updates is too long to look into here
	Since   time.Time // how far back it goes, if there is more before
	Version string
}

type historyRow struct {
	Act      int64
	At       time.Time
	By, Text string
	Href     string
}

func (s *server) updateHistory(v *Visit) (updateHistoryView, error) {
	u, err := s.Decide.Get(v.Context(), v.Who(), v.Path("update"), string(v.Group().ID))
	if err != nil {
		return updateHistoryView{}, err
	}
	v.Title, v.Crumbs = "History", []Crumb{{"Updates", "/updates"}, {u.Name + " " + u.Version, updateHref(string(u.ID))}}
	view := updateHistoryView{Version: u.Version}
	for _, kind := range []ledger.Kind{ledger.UpdateDecide{}.Kind(), ledger.ExceptionAdd{}.Kind(), ledger.UpdateRollback{}.Kind(), ledger.UpdateDeploy{}.Kind(), ledger.ContentVerify{}.Kind()} {
		list, err := s.Audit.Entries(v.Context(), client.LedgerQuery{Kind: kind, Limit: historyEntries})
		if err != nil {
			return view, err
		}
		view.add(u.ID, list)
	}
	slices.SortFunc(view.Items, func(a, b historyRow) int { return cmp.Compare(b.Act, a.Act) })
	return view, nil
}

// add takes the acts that name the update.
func (view *updateHistoryView) add(id catalog.UpdateID, list client.List[client.LedgerRow]) {
	for _, e := range list.Items {
		if e.Omitted {
			view.Unread++
			continue
		}
		if names(e.Body, id) {
			view.Items = append(view.Items, historyRow{e.Seq, e.At, e.By, e.Text, "/ledger/" + strconv.FormatInt(e.Seq, 10)})
		}
	}
	if n := len(list.Items); list.Next != "" && n > 0 && list.Items[n-1].At.After(view.Since) {
		view.Since = list.Items[n-1].At
	}
}

// names tells whether the body of an act names an update.
func names(body json.RawMessage, id catalog.UpdateID) bool {
	var act struct {
		Update  catalog.UpdateID `json:"update"`
		Updates []ledger.Decided `json:"updates"`
	}
	return json.Unmarshal(body, &act) == nil && (act.Update == id || slices.ContainsFunc(act.Updates, func(d ledger.Decided) bool { return d.Update == id }))
}
