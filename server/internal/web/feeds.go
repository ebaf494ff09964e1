package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"assent/client"
	"assent/fault"
)

// feedRoutes are the part of the table about the feeds that the server follows. A feed concerns all devices, so only
// administrators of the root group see them.
func (s *server) feedRoutes() []Route {
	return []Route{
		page(AdministratorOfAll, http.MethodGet, "/feeds", "feeds", s.feedsPage),
		confirmed(answer(AdministratorOfAll, http.MethodPost, "/feeds", s.subscribe)),
		page(AdministratorOfAll, http.MethodGet, "/feeds/{feed}", "feeds_show", s.feedPage),
		act(AdministratorOfAll, "/feeds/{feed}/refresh", s.refreshFeed),
		act(AdministratorOfAll, "/feeds/{feed}/unsubscribe", s.unsubscribe),
	}
}

// feedsView is the list of feeds, with the form to follow another.
type feedsView struct {
	Table   Table
	Alarms  []feedAlarm
	Form    feedForm
	Problem string
}

type feedAlarm struct{ Feed, Message string }

// feedForm is what a subscription was asked with. The root is named by its digest: a form would change the line ends of
// its text.
type feedForm struct{ Name, URL, RootSHA256 string }

func (s *server) feedsPage(v *Visit) (feedsView, error) {
	v.Title = "Feeds"
	list, err := s.Feeds.Feeds(v.Context(), v.Who())
	if err != nil {
		return feedsView{}, err
	}
	t := Table{ID: "feeds", One: "feed", Many: "feeds", Total: list.Total, Export: true, Columns: []Column{{Key: "name", Label: "Feed"}, {Key: "state", Label: "State"}, {Key: "releases", Label: "Releases", Number: true},
		{Key: "recalled", Label: "Recalled", Number: true, Wide: true}, {Key: "held", Label: "Held", Number: true, Wide: true}, {Key: "files", Label: "Files here", Wide: true}, {Key: "verified", Label: "Verified", Wide: true},
		{Key: "expires", Label: "Signatures until", Wide: true}, {Key: "url", Label: "Address", Wide: true}},
		Empty: Empty{Text: "The server follows no feed. Subscribe to one below."}}
	view := feedsView{}
	for _, f := range list.Items {
		href := feedHref(f.Name)
		t.Rows = append(t.Rows, Row{ID: f.Name, Label: f.Name, Href: href, Value: f, Cells: []Cell{linked(f.Name, href), feedCell(f), number(f.Releases).to("/updates?search=" + url.QueryEscape("feed."+f.Name)),
			number(f.Recalled), number(len(f.Held)), plain(fmt.Sprintf("%d of %d", f.FilesHere, f.Files)), moment(f.LastSuccess), moment(f.Expires), plain(f.URL)}})
		for _, a := range f.Alarms {
			view.Alarms = append(view.Alarms, feedAlarm{f.Name, feedProblemText(a)})
		}
	}
	view.Table, err = t.finish(v)
	return view, err
}

func feedHref(name string) string { return "/feeds/" + url.PathEscape(name) }

// feedCell is how following a feed goes, in one word or two.
func feedCell(f client.FeedRow) Cell {
	switch {
	case len(f.Alarms) > 0:
		return Cell{Text: "alarm", Tone: "red"}
	case f.Error != nil:
		return Cell{Text: "failing", Tone: "orange"}
	case f.LastSuccess.IsZero():
		return Cell{Text: "new", Tone: "secondary"}
	case f.Fetching:
		return Cell{Text: "fetching", Tone: "azure"}
	}
	return Cell{Text: "verified", Tone: "green"}
}

func feedProblemText(p client.FeedProblem) string {
	if p.Target == "" {
		return p.Message
	}
	return p.Target + ": " + p.Message
}

// feedView is one feed.
type feedView struct {
	client.FeedRow
	State                            Cell
	Failure                          string
	AlarmList, HeldList, RefusedList []string
	Updates                          string
	Open                             int // files that the server does not have yet
}

func (s *server) feedPage(v *Visit) (feedView, error) {
	f, err := s.Feeds.Feed(v.Context(), v.Who(), v.Path("feed"))
	if err != nil {
		return feedView{}, err
	}
	v.Title, v.Crumbs = f.Name, []Crumb{{"Feeds", "/feeds"}}
	view := feedView{FeedRow: f, State: feedCell(f), AlarmList: mapped(f.Alarms, feedProblemText), HeldList: mapped(f.Held, feedProblemText), RefusedList: mapped(f.Refused, feedProblemText),
		Updates: "/updates?search=" + url.QueryEscape("feed."+f.Name), Open: f.Files - f.FilesHere}
	if f.Error != nil {
		view.Failure = feedProblemText(*f.Error)
	}
	return view, nil
}

// patience is how much longer than usual an answer may take that waits for a feed's server.
const patience = 2 * time.Minute

// subscribe follows a feed once the server has verified it. What is wrong with it is shown beside the form.
func (s *server) subscribe(w http.ResponseWriter, v *Visit) error {
	form := feedForm{v.Form("name"), v.Form("url"), strings.ToLower(v.Form("root_sha256"))}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience)) // where it cannot be set, none is
	done, err := s.Feeds.Subscribe(v.Context(), v.Who(), client.FeedRequest{Name: form.Name, URL: form.URL, RootSHA256: form.RootSHA256})
	problem := ""
	if err != nil {
		f := fault.From(err)
		switch f.Kind {
		case fault.Forbidden, fault.Unauthenticated, fault.Internal:
			return err
		}
		problem = onPages(f.Message)
	}
	if problem == "" {
		v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("The server follows %s from %s (act %d).", form.Name, form.URL, done.Act.Act)})
		redirect(w, v.Request, feedHref(form.Name))
		return nil
	}
	view, err := s.feedsPage(v)
	if err != nil {
		return err
	}
	view.Form, view.Problem = form, problem
	return s.show(w, v, "feeds", view, http.StatusUnprocessableEntity)
}

func (s *server) refreshFeed(v *Visit) (string, error) {
	f, err := s.Feeds.Refresh(v.Context(), v.Who(), v.Path("feed"), client.FeedRefresh{})
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "info", Text: "The server looks at " + f.Name + " now."})
	return feedHref(f.Name), nil
}

// unsubscribe stops following a feed, once its name was typed: what depends on it stops being installed.
func (s *server) unsubscribe(v *Visit) (string, error) {
	name := v.Path("feed")
	if v.Form("confirm") != name {
		return "", fault.New(fault.Invalid, "confirm_missing", "Type the feed's name to stop following it.").On("confirm")
	}
	act, err := s.Feeds.Unsubscribe(v.Context(), v.Who(), name)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("The server does not follow %s any more (act %d). What it published stays listed.", name, act.Act)})
	return "/feeds", nil
}
