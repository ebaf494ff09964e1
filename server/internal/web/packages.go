package web

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"assent/client"
	"assent/ledger"
)

// packageRoutes are the part of the table about installation packages and deployments.
func (s *server) packageRoutes() []Route {
	return slices.Concat([]Route{
		page(Viewer, http.MethodGet, "/packages", "packages", s.packagesPage),
		act(Approver, "/packages", s.createPackage),
		page(Viewer, http.MethodGet, "/packages/{package}", "packages_show", s.packagePage),
		confirmed(answer(Approver, http.MethodPost, "/packages/{package}/download", s.downloadPackage)), // it may hold an enrolment token
		page(Approver, http.MethodGet, "/packages/{package}/delete", "packages_delete", s.packageDeletePage),
		act(Approver, "/packages/{package}/delete", s.deletePackage),
	}, s.deployRoutes())
}

func packageHref(id string) string { return "/packages/" + url.PathEscape(id) }

// packagesView is the list of installation packages, with the form that makes the agent's.
type packagesView struct {
	Table    Table
	MayAgent bool
	Groups   []client.GroupRow
}

func (s *server) packagesPage(v *Visit) (packagesView, error) {
	v.Title = "Installation packages"
	list, err := s.Packages.Packages(v.Context(), v.Who())
	if err != nil {
		return packagesView{}, err
	}
	t := Table{ID: "packages", One: "installation package", Many: "installation packages", Total: list.Total, Export: true,
		Columns: []Column{{Key: "name", Label: "Package"}, {Key: "update", Label: "Update"}, {Key: "format", Label: "Format", Wide: true}, {Key: "group", Label: "Enrols into", Wide: true},
			{Key: "by", Label: "Made by", Wide: true}, {Key: "at", Label: "When", Wide: true}, {Key: "held", Label: "Held"}},
		Empty: Empty{Text: "There is no installation package yet. The page of a feed's update makes one; it puts the application onto devices that lack it.", Link: &Link{"Seamless updates", "/updates/seamless"}}}
	for _, p := range list.Items {
		update := plain(p.Update.Name + " " + p.Update.Version)
		if p.Update.ID != "" {
			update = update.to(updateHref(string(p.Update.ID)))
		}
		held := Cell{}
		if p.Refused != nil {
			held = Cell{Text: words(p.Refused.Code), Tone: "red", Title: onPages(p.Refused.Message)}
		}
		t.Rows = append(t.Rows, Row{ID: p.ID, Label: p.Name, Href: packageHref(p.ID), Value: p, Cells: []Cell{linked(p.Name, packageHref(p.ID)), update, plain(string(p.Format)), plain(p.Group), plain(p.By), moment(p.At), held}})
	}
	view := packagesView{MayAgent: v.May(AdministratorOfAll), Groups: v.Groups()}
	view.Table, err = t.finish(v)
	return view, err
}

// createPackage makes an installation package: from an update, or from the agent that lies on the server.
func (s *server) createPackage(v *Visit) (string, error) {
	r := client.PackageRequest{Update: v.Form("update"), Agent: v.Form("agent") != "", Name: v.Form("name"), Group: v.Form("group")}
	row, err := s.Packages.CreatePackage(v.Context(), v.Who(), r)
	if err != nil {
		return "", err
	}
	text := "Made the package " + row.Name + "."
	if row.Refused != nil {
		text += " It is held for now: " + onPages(row.Refused.Message)
	}
	v.Toast(Toast{Tone: "success", Text: text})
	return packageHref(row.ID), nil
}

// packageView is one installation package.
type packageView struct {
	client.PackageRow
	MayAct      bool // make use of it: download, deploy, delete
	MayDelete   bool
	Unnamed     bool // it is made from no update of the list
	Deployments []client.DeployRow
}

func (s *server) packagePage(v *Visit) (packageView, error) {
	row, err := s.Packages.Package(v.Context(), v.Who(), v.Path("package"))
	if err != nil {
		return packageView{}, err
	}
	v.Title, v.Crumbs = row.Name, []Crumb{{"Installation packages", "/packages"}}
	view := packageView{PackageRow: row, MayAct: v.May(Approver) && (!row.Enrols || v.May(Administrator)), MayDelete: v.Who().CanAll(ledger.Approver) == nil, Unnamed: row.Update.ID == ""}
	list, err := s.Decide.Deployments(v.Context(), v.Who())
	if err != nil {
		return view, err
	}
	for _, d := range list.Items {
		if d.Update.ID == row.Update.ID && !view.Unnamed {
			view.Deployments = append(view.Deployments, d)
		}
	}
	return view, nil
}

// maxEnrolment bounds, in hours, how long the agent's package can enrol a machine.
const maxEnrolment = 30 * 24

// downloadPackage sends the file of a package. What goes wrong after the first byte breaks the connection, so that
// half a file never looks whole; so does the end of the person's access.
func (s *server) downloadPackage(w http.ResponseWriter, v *Visit) error {
	r := client.PackageDownload{Arch: v.Form("arch")}
	if hours, err := strconv.Atoi(v.Form("hours")); err == nil && hours > 0 {
		r.TTL = time.Duration(min(hours, maxEnrolment)) * time.Hour
	}
	d, err := s.Packages.Download(v.Context(), v.Who(), v.Path("package"), r)
	if err != nil {
		return err
	}
	defer d.Body.Close()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // large files take their time
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": d.Name}))
	h.Set("Content-Length", strconv.FormatInt(d.Size, 10))
	n, err := io.Copy(w, &whileLive{s: s, v: v, from: d.Body})
	if err != nil || n != d.Size {
		s.Log.Warn("a download broke off", "file", d.Name, "sent", n, "size", d.Size, slog.Any("error", err))
		panic(http.ErrAbortHandler)
	}
	return nil
}

// whileLive reads as long as the person's access lasts.
type whileLive struct {
	s    *server
	v    *Visit
	from io.Reader
}

// Read reads on, unless access ended.
func (r *whileLive) Read(p []byte) (int, error) {
	if err := r.s.live(r.v); err != nil {
		return 0, fmt.Errorf("access ended during a download: %w", err)
	}
	n, err := r.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read the file of a download: %w", err)
	}
	if err != nil {
		return n, io.EOF
	}
	return n, nil
}

// packageDeleteView asks before a package is deleted.
type packageDeleteView struct{ client.PackageRow }

func (s *server) packageDeletePage(v *Visit) (packageDeleteView, error) {
	row, err := s.Packages.Package(v.Context(), v.Who(), v.Path("package"))
	v.Title, v.Crumbs = "Delete a package", []Crumb{{"Installation packages", "/packages"}, {row.Name, packageHref(row.ID)}}
	return packageDeleteView{row}, err
}

func (s *server) deletePackage(v *Visit) (string, error) {
	act, err := s.Packages.DeletePackage(v.Context(), v.Who(), v.Path("package"))
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Deleted the package (act %d). What runs or was deployed stays.", act.Act)})
	return "/packages", nil
}
