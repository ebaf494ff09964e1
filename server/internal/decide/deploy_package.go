package decide

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// maxName is the most characters of a package's name.
const maxName = 100

// agentName is the application that is Assent's own agent.
const agentName = "assent-agent"

// CreatePackage makes an installation package from an update of a feed. It is refused for what is gated, recalled,
// declined in the root or in the package's group, or not readable here (A6). Packages belong to the whole installation.
func (s *Service) CreatePackage(ctx context.Context, who auth.Actor, r client.PackageRequest) (client.PackageRow, error) {
	if err := checkName(r.Name); err != nil {
		return client.PackageRow{}, err
	}
	if r.Update == "" {
		return client.PackageRow{}, fault.New(fault.Invalid, "package_what", "Say which update the package is made from.").On("update")
	}
	return s.createPackage(ctx, who, r, func(v *index.View) (ledger.Package, error) {
		u, err := v.Resolve(r.Update)
		if err != nil {
			return ledger.Package{}, err
		}
		g, err := packageGroup(v, who, u, r.Group)
		if err != nil {
			return ledger.Package{}, err
		}
		now := s.index.Now().UTC()
		refusal := firstRefusal(func() *fault.Error { return ungiven(v, u) }, func() *fault.Error { return kept(v, u, fleet.Root, now) },
			func() *fault.Error { return kept(v, u, cmp.Or(g, fleet.Root), now) })
		if refusal != nil {
			return ledger.Package{}, refusal
		}
		return ledger.Package{Name: cmp.Or(r.Name, cmp.Or(u.Published.Title, u.Name)+" "+u.Version), Update: u.ID, Release: u.Release, Group: g}, nil
	})
}

// CreateAgentPackage makes a package of a release of the agent that an administrator put onto the server.
func (s *Service) CreateAgentPackage(ctx context.Context, who auth.Actor, r client.PackageRequest, agent catalog.Release) (client.PackageRow, error) {
	if err := checkName(r.Name); err != nil {
		return client.PackageRow{}, err
	}
	return s.createPackage(ctx, who, r, func(v *index.View) (ledger.Package, error) {
		g, err := enrolGroup(v, who, r.Group)
		if err != nil {
			return ledger.Package{}, err
		}
		return ledger.Package{Name: cmp.Or(r.Name, "Agent "+agent.Version), Update: agent.ID(), Release: agent, Group: g}, nil
	})
}

// MayHandOut refuses who may not have the file of a package: it takes an approver, and for one that enrols machines an
// administrator of their group.
func (s *Service) MayHandOut(_ context.Context, who auth.Actor, row client.PackageRow) (err error) {
	s.index.View(func(v *index.View) {
		role, group := ledger.Approver, who.Scope
		if row.Enrols {
			role, group = ledger.Administrator, cmp.Or(row.GroupID, fleet.Root)
		}
		err = who.Can(role, v.Tree(), group)
	})
	return err
}

// checkName refuses a name that could not be told apart when it is shown.
func checkName(name string) error {
	if utf8.RuneCountInString(name) > maxName {
		return fault.New(fault.Invalid, "name_too_long", "The name has more than %d characters; shorten it.", maxName).On("name")
	}
	if err := checkText(name, "name", maxName); err != nil {
		return err
	}
	if strings.TrimSpace(name) != name || name != "" && name == "." || strings.ContainsAny(name, "/") {
		return fault.New(fault.Invalid, "name_invalid", "A package's name has no spaces at its ends and no slash.").On("name")
	}
	return nil
}

// packageGroup finds the group that machines enrol into with a package.
func packageGroup(v *index.View, who auth.Actor, u index.Update, reference string) (fleet.GroupID, error) {
	switch {
	case reference == "":
		return "", nil
	case !isAgent(u):
		return "", fault.New(fault.Invalid, "group_useless", "Only the agent's own package enrols machines into a group; %s is an application. Leave --group-on-install out.", title(u)).On("group_on_install")
	}
	return enrolGroup(v, who, reference)
}

// enrolGroup finds a group that the actor may let machines into; empty for none.
func enrolGroup(v *index.View, who auth.Actor, reference string) (fleet.GroupID, error) {
	if reference == "" {
		return "", nil
	}
	g, err := scope(v, who, ledger.Administrator, reference, who.Scope)
	if f := fault.From(err); f != nil && f.Field == "group" {
		return "", f.On("group_on_install")
	}
	return g.ID, err
}

func isAgent(u index.Update) bool { return u.Class == catalog.Component && u.Name == agentName }

// createPackage records a package that build makes.
func (s *Service) createPackage(ctx context.Context, who auth.Actor, r client.PackageRequest, build func(*index.View) (ledger.Package, error)) (client.PackageRow, error) {
	var id string
	entry, err := s.index.Act(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		if err := who.CanAll(ledger.Approver); err != nil {
			return nil, err
		}
		p, err := build(v)
		if err != nil {
			return nil, err
		}
		for _, old := range v.State().Packages {
			if strings.EqualFold(old.Name, p.Name) {
				return nil, fault.New(fault.Conflict, "package_exists", "There is an installation package %q already (%s); give another --name.", old.Name, old.ID).On("name")
			}
		}
		p.ID = fmt.Sprintf("p%d", v.State().Seq+1)
		id = p.ID
		return ledger.PackageCreate{Package: p}, nil
	})
	if err != nil {
		return client.PackageRow{}, err
	}
	s.log.Info("made an installation package", "act", entry.Seq, "by", who.Name, "package", id)
	return s.Package(ctx, who, id)
}

// findPackage finds a package by its id or, without regard to case, its name. One that enrols into a group outside the
// actor's part of the tree does not exist here.
func findPackage(v *index.View, who auth.Actor, reference string) (ledger.Package, error) {
	p, ok := v.State().Packages[reference]
	if !ok {
		for _, q := range v.State().Packages {
			if strings.EqualFold(q.Name, reference) {
				p, ok = q, true
			}
		}
	}
	if !ok || p.Group != "" && !v.Tree().Contains(who.Scope, p.Group) {
		return ledger.Package{}, fault.New(fault.NotFound, "package_unknown", "There is no installation package %q; `assent package list` shows all.", shorten(reference)).On("package")
	}
	return p, nil
}

// Packages lists the installation packages, the newest first.
func (s *Service) Packages(_ context.Context, who auth.Actor) (client.List[client.PackageRow], error) {
	out := client.List[client.PackageRow]{Items: []client.PackageRow{}}
	var err error
	s.index.View(func(v *index.View) {
		if _, err = scope(v, who, ledger.Viewer, "", who.Scope); err != nil {
			return
		}
		for id := range v.State().Packages {
			if p, err := findPackage(v, who, id); err == nil {
				out.Items = append(out.Items, s.packageRow(v, p))
			}
		}
	})
	slices.SortFunc(out.Items, func(a, b client.PackageRow) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.ID, b.ID)) })
	out.Total = len(out.Items)
	return out, err
}

// Package shows an installation package.
func (s *Service) Package(_ context.Context, who auth.Actor, reference string) (client.PackageRow, error) {
	var row client.PackageRow
	var err error
	s.index.View(func(v *index.View) {
		if _, err = scope(v, who, ledger.Viewer, "", who.Scope); err != nil {
			return
		}
		var p ledger.Package
		if p, err = findPackage(v, who, reference); err == nil {
			row = s.packageRow(v, p)
		}
	})
	return row, err
}

// DeletePackage deletes an installation package. Nothing that was installed or deployed from it is touched.
func (s *Service) DeletePackage(ctx context.Context, who auth.Actor, reference string) (client.Act, error) {
	entry, err := s.index.Act(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		if err := who.CanAll(ledger.Approver); err != nil {
			return nil, err
		}
		p, err := findPackage(v, who, reference)
		if err != nil {
			return nil, err
		}
		return ledger.PackageDelete{ID: p.ID}, nil
	})
	return client.Act{Act: entry.Seq, At: entry.At}, err
}

// packageRow shows a package as it is now.
func (s *Service) packageRow(v *index.View, p ledger.Package) client.PackageRow {
	row := client.PackageRow{ID: p.ID, Name: p.Name, GroupID: p.Group, By: p.By, At: p.At, Builds: []client.PackageBuild{},
		Update: client.UpdateRef{ID: p.Update, PURL: p.Release.PURL(), Name: p.Release.Name, Version: p.Release.Version}}
	if g, ok := v.Tree().Get(p.Group); ok {
		row.Group = g.Name
	}
	u, ok := v.Update(p.Update)
	if !ok {
		return row
	}
	row.Class, row.Enrols = u.Class, isAgent(u)
	if u.Published != nil {
		row.Title, row.Format = u.Published.Title, u.Published.Format
	}
	row.Refused = refused(s.withheld(v, p, u))
	if row.Feed, _ = catalog.FeedOf(u.Namespace); u.Published != nil {
		row.Builds = builds(v, u)
	}
	return row
}
