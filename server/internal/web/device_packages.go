package web

import (
	"net/url"

	"assent/client"
)

// devicePackagesView is the list of what is installed on a device.
type devicePackagesView struct{ Table Table }

func (s *server) devicePackagesPage(v *Visit) (devicePackagesView, error) {
	p, err := paging(v)
	if err != nil {
		return devicePackagesView{}, err
	}
	t, err := s.devicePackagesTable(v, p)
	return devicePackagesView{t}, err
}

// devicePackagesTable is one page of what is installed on a device, as it last reported.
func (s *server) devicePackagesTable(v *Visit, p client.Page) (Table, error) {
	q := client.InventoryQuery{Search: v.Query().Get("search")}
	var err error
	if q.Auto, err = yesOrNo(v.Query(), "auto"); err != nil {
		return Table{}, err
	}
	if q.Hold, err = yesOrNo(v.Query(), "hold"); err != nil {
		return Table{}, err
	}
	d, err := s.Roster.Device(v.Context(), v.Who(), v.Path("device"))
	if err != nil {
		return Table{}, err
	}
	list, err := s.Roster.Inventory(v.Context(), v.Who(), string(d.ID), q, p)
	if err != nil {
		return Table{}, err
	}
	v.Title, v.Crumbs = "Packages of "+d.Name, []Crumb{{"Devices", "/devices"}, {d.Name, deviceHref(d.ID)}}
	t := Table{ID: "packages", One: "package", Many: "packages", Total: list.Total, Next: list.Next, Search: "name, version or source", Sort: "name", Export: true,
		Filters: []Filter{{Key: "auto", Label: "Came", Options: []Option{{"false", "by itself"}, {"true", "as a dependency"}}}, {Key: "hold", Label: "Hold", Options: []Option{{"true", "held"}, {"false", "not held"}}}},
		Columns: []Column{{Key: "name", Label: "Package", Sorts: true}, {Key: "version", Label: "Version", Sorts: true}, {Key: "arch", Label: "Architecture", Sorts: true, Wide: true},
			{Key: "source", Label: "Source", Sorts: true, Wide: true}, {Key: "source_version", Label: "Source version", Extra: true}, {Key: "status", Label: "Status", Sorts: true},
			{Key: "auto", Label: "Dependency", Sorts: true, Wide: true}, {Key: "hold", Label: "Hold", Sorts: true}, {Key: "how", Label: "How it came", Sorts: true, Wide: true}, {Key: "ecosystem", Label: "Ecosystem", Extra: true}},
		Empty: Empty{Text: "The device has not reported what is installed on it yet."}}
	t.Rows = mapped(list.Items, packageRow)
	return t.finish(v)
}

func packageRow(p client.PackageInfo) Row {
	either := func(on bool, word string) Cell {
		if on {
			return plain(word)
		}
		return plain("")
	}
	status := plain(p.Status)
	if p.Status != "ii" && p.Status != "hi" && p.Ecosystem == "deb" {
		status.Tone = "red" // not fully installed
	}
	updates := "/updates?" + url.Values{"search": {p.Source}}.Encode()
	return Row{ID: p.Name + ":" + p.Arch, Label: p.Name, Href: updates, Value: p, Cells: []Cell{plain(p.Name), plain(p.Version), plain(p.Arch), linked(p.Source, updates), plain(p.SourceVersion), status,
		either(p.Auto, "dependency"), either(p.Hold, "held"), plain(p.How), plain(p.Ecosystem)}}
}
