package web

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"assent/client"
	"assent/fault"
)

// exceptionRoutes are the part of the table about exceptions from declines (A3).
func (s *server) exceptionRoutes() []Route {
	return []Route{
		page(Viewer, http.MethodGet, "/exceptions", "exceptions", s.exceptionsPage),
		confirmed(act(Approver, "/exceptions", s.except)),
		act(Approver, "/exceptions/{exception}/end", s.unexcept),
	}
}

// exceptionsView is the list of exceptions that concern the person's part of the tree.
type exceptionsView struct{ Items []exceptionRow }

type exceptionRow struct {
	client.ExceptionRow
	MayEnd bool
}

func (s *server) exceptionsPage(v *Visit) (exceptionsView, error) {
	v.Title = "Exceptions"
	list, err := s.Decide.Exceptions(v.Context(), v.Who())
	if err != nil {
		return exceptionsView{}, err
	}
	may := v.May(Approver)
	return exceptionsView{mapped(list.Items, func(e client.ExceptionRow) exceptionRow { return exceptionRow{e, may && inScope(v, e.Scope)} })}, nil
}

// except lets an update pass a decline in one group, for a time.
func (s *server) except(v *Visit) (string, error) {
	r := client.ExceptionRequest{Update: v.Form("update"), Scope: v.Form("scope"), Reason: v.Form("reason")}
	if r.Scope == "" {
		return "", fault.New(fault.Invalid, "scope_missing", "Say in which group the exception holds.").On("scope")
	}
	var err error
	if r.Expires, err = dateOf(v.Form("expires"), "expires"); err != nil {
		return "", err
	}
	if text := v.Form("decline"); text != "" {
		if r.Decline, err = strconv.ParseInt(text, 10, 64); err != nil {
			return "", fault.New(fault.Invalid, "decline_invalid", "%.80q is not the number of an act.", text).On("decline")
		}
	}
	act, err := s.Decide.Except(v.Context(), v.Who(), r)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Made the exception %d: it may pass that decline in %s until %s, where it is approved.", act.Act, scopeNamed(v, r.Scope), r.Expires.Format(time.DateOnly)),
		Undo: &Form{Label: "Undo", Action: fmt.Sprintf("/exceptions/%d/end", act.Act)}})
	return updateHref(r.Update), nil
}

// unexcept ends an exception.
func (s *server) unexcept(v *Visit) (string, error) {
	id, err := strconv.ParseInt(v.Path("exception"), 10, 64)
	if err != nil || id < 1 {
		return "", fault.New(fault.NotFound, "exception_unknown", "There is no exception %.80q.", v.Path("exception")).On("id")
	}
	act, err := s.Decide.Unexcept(v.Context(), v.Who(), id)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Ended the exception %d (act %d).", id, act.Act)})
	return "/exceptions", nil
}

// refusalText is what a person may know of an error.
func refusalText(err error) string { return onPages(fault.From(err).Message) }
