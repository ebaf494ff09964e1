package ledger

import (
	"time"

	"assent/fault"
)

// The acts on saved views that everybody sees. Those of one person are no acts: they change nothing for anybody else.
type (
	// ViewShare saves a view of a list for everybody, or saves it anew: the whole value.
	ViewShare struct {
		View View `json:"view"`
	}
	// ViewRemove removes a shared view.
	ViewRemove struct {
		ID string `json:"id"`
	}
)

// View is a saved address of a list.
type View struct {
	ID    string    `json:"id"`
	List  string    `json:"list"` // "updates", "devices", …
	Name  string    `json:"name"`
	Query string    `json:"query"`        // of the list's address
	By    string    `json:"by,omitempty"` // set from the entry
	At    time.Time `json:"at,omitzero"`  // set from the entry
}

// Kind names what each act is.
func (ViewShare) Kind() Kind  { return "view.share" }
func (ViewRemove) Kind() Kind { return "view.remove" }

// share keeps a view. Two views of one list never have one name.
func (s *State) share(e Entry, v View) error {
	for _, old := range s.Views {
		if old.ID != v.ID && old.List == v.List && old.Name == v.Name {
			return fault.New(fault.Conflict, "view_exists", "There is a shared view %q of this list already.", v.Name).On("name")
		}
	}
	v.By, v.At = e.By, e.At
	s.Views[v.ID] = v
	return nil
}
