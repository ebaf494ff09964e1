package client

import (
	"context"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
)

// PackageRequest makes an installation package: from an update of a feed, or from the copy of the agent that lies on
// the server.
type PackageRequest struct {
	Update string `json:"update,omitempty" maxLength:"1000" doc:"Id, package URL or name@version."`
	Agent  bool   `json:"agent,omitempty" doc:"Instead of an update: the agent's Debian package that lies on the server."`
	Name   string `json:"name,omitempty" doc:"Up to 100 characters; made from the application's title and version by default."`
	Group  string `json:"group_on_install,omitempty" maxLength:"400" doc:"For the agent's package: the group (id or name) that machines enrol into."`
}

// Refusal says why something cannot be done now.
type Refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// PackageFile is one file inside a download.
type PackageFile struct {
	Update UpdateRef `json:"update"`
	catalog.Item
}

// PackageBuild is what a download for one architecture consists of.
type PackageBuild struct {
	Arch  string        `json:"arch"` // dpkg's name; "all" for every architecture
	File  string        `json:"file"` // the name of the download
	Size  int64         `json:"size"` // bytes of the files in it
	Files []PackageFile `json:"files"`
}

// PackageRow is an installation package.
type PackageRow struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"`
	Update  UpdateRef      `json:"update"`
	Title   string         `json:"title,omitempty"`
	Class   catalog.Class  `json:"class"`
	Format  catalog.Format `json:"format"`
	Feed    string         `json:"feed,omitempty"`
	Enrols  bool           `json:"enrols,omitempty"` // it is the agent's: a download enrols one machine
	Group   string         `json:"group_on_install,omitempty"`
	GroupID fleet.GroupID  `json:"group_id,omitempty"`
	By      string         `json:"by"`
	At      time.Time      `json:"at"`
	Builds  []PackageBuild `json:"builds"`
	Refused *Refusal       `json:"refused,omitempty"` // why it can be neither deployed nor downloaded now
}

// PackageDownload asks for the file of a package.
type PackageDownload struct {
	Arch string        `json:"arch,omitempty" maxLength:"64" doc:"dpkg's name of the architecture; needed where there are several."`
	TTL  time.Duration `json:"ttl,omitempty" doc:"For the agent's package: how long it can enrol a machine, in nanoseconds; an hour by default."`
}

// Download is a package's file on its way. The caller closes Body.
type Download struct {
	Name   string        // of the file
	Size   int64         // bytes
	SHA256 string        // of the whole file where the server knows it beforehand; else empty
	Token  string        // id of the enrolment token inside; empty for all but the agent's package
	Until  time.Time     // when that token ends
	Body   io.ReadCloser // fails where the file broke off
}

// DeployRequest puts an application onto devices that lack it.
type DeployRequest struct {
	Package string   `json:"package,omitempty" maxLength:"400" doc:"Id or name of an installation package."`
	Update  string   `json:"update,omitempty" maxLength:"1000" doc:"Instead of a package: id, package URL or name@version."`
	To      []string `json:"to" doc:"One group, or some devices, by id or name."`
	Reason  string   `json:"reason,omitempty"`
	DryRun  bool     `json:"dry_run,omitempty"`
}

// DeployAnswer says what a deployment means for a device.
type DeployAnswer string

// What a deployment means for a device.
const (
	DeployInstalls DeployAnswer = "install"   // it gets it
	DeployThere    DeployAnswer = "installed" // it has this very release
	DeployOther    DeployAnswer = "other"     // it has another version, so it does not lack the application
	DeployHeld     DeployAnswer = "held"      // something stands in the way
	DeployWaits    DeployAnswer = "waits"     // the device has not said yet whether it could take it
)

// DeployDevice is what a deployment means for one device.
type DeployDevice struct {
	Device   fleet.DeviceID     `json:"device"`
	Name     string             `json:"device_name"`
	Group    string             `json:"group"`
	Answer   DeployAnswer       `json:"answer"`
	Version  string             `json:"installed_version,omitempty"` // what it has of the application
	Download int64              `json:"download,omitempty"`          // bytes
	Cause    installation.Cause `json:"cause,omitempty"`
	Why      string             `json:"why,omitempty"`
	Next     string             `json:"next,omitempty"` // the command that helps
	Offline  bool               `json:"offline,omitempty"`
}

// DeployOutcome is what a deployment does, or would do.
type DeployOutcome struct {
	Act
	DryRun    bool           `json:"dry_run,omitempty"`
	Unchanged bool           `json:"unchanged,omitempty"` // it stands already: Act is the old one
	Update    UpdateRef      `json:"update"`
	Group     string         `json:"group,omitempty"` // where it was deployed to a group: later devices get it too
	Devices   []DeployDevice `json:"devices"`         // sorted by name; 1,000 at most
	Counts    DeployCounts   `json:"counts"`          // of all devices
}

// DeployCounts counts the devices of a deployment by answer.
type DeployCounts struct {
	Devices int `json:"devices"`
	Install int `json:"install"`
	There   int `json:"installed"`
	Other   int `json:"other"`
	Held    int `json:"held"`
	Waits   int `json:"waits"`
	Unseen  int `json:"unseen,omitempty"` // not looked at, so that the answer came in time
}

// DeployRow is a deployment that stands. Its numbers are of the caller's part of the tree.
type DeployRow struct {
	Act
	By      string           `json:"by"`
	Update  UpdateRef        `json:"update"`
	Package string           `json:"package,omitempty"` // the name of the package it was made from
	Scope   fleet.GroupID    `json:"scope,omitempty"`
	Group   string           `json:"group,omitempty"`
	Named   []fleet.DeviceID `json:"devices,omitempty"`
	Names   []string         `json:"device_names,omitempty"`
	Reason  string           `json:"reason,omitempty"`
	Total   int              `json:"total"`
	Done    int              `json:"done"`    // have the application
	Pending int              `json:"pending"` // it is on its way
	Blocked int              `json:"blocked"` // held, or it failed
	Waiting int              `json:"waiting"` // nobody approved it there, or the device has not said that it could take it
	Refused *Refusal         `json:"refused,omitempty"`
}

// Packages lists the installation packages.
func (c *Client) Packages(ctx context.Context) (List[PackageRow], error) {
	return get[List[PackageRow]](ctx, c, "/packages", nil)
}

// Package shows an installation package, by id or name.
func (c *Client) Package(ctx context.Context, ref string) (PackageRow, error) {
	return get[PackageRow](ctx, c, "/packages/"+escape(ref), nil)
}

// CreatePackage makes an installation package.
func (c *Client) CreatePackage(ctx context.Context, r PackageRequest) (PackageRow, error) {
	return send[PackageRow](ctx, c, http.MethodPost, "/packages", r)
}

// DeletePackage deletes an installation package. Nothing that was installed or deployed from it is touched.
func (c *Client) DeletePackage(ctx context.Context, ref string) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/packages/"+escape(ref), nil)
}

// Headers of a download.
const (
	HeaderSHA256 = "Assent-Sha256"
	HeaderToken  = "Assent-Token"
	HeaderUntil  = "Assent-Token-Expires"
)

// DownloadPackage asks for the file of an installation package.
func (c *Client) DownloadPackage(ctx context.Context, ref string, r PackageDownload) (Download, error) {
	resp, err := c.send(ctx, http.MethodPost, "/packages/"+escape(ref)+"/downloads", url.Values{}, r)
	if err != nil {
		return Download{}, err
	}
	_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Disposition"))
	if err != nil || resp.ContentLength < 0 {
		resp.Body.Close()
		return Download{}, notAssent(resp)
	}
	d := Download{Name: params["filename"], Size: resp.ContentLength, SHA256: resp.Header.Get(HeaderSHA256), Token: resp.Header.Get(HeaderToken), Body: download{resp.Body}}
	d.Until, _ = time.Parse(time.RFC3339, resp.Header.Get(HeaderUntil)) // zero where there is no token
	return d, nil
}

// download turns a connection that breaks off into a refusal. net/http sees to it that a body shorter than announced is an error.
type download struct{ io.ReadCloser }

func (d download) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader's own contract
		err = fault.New(fault.Unavailable, "download_broken", "The download broke off; start it again.").Because(err)
	}
	return n, err
}

// Deploy puts an application onto devices that lack it.
func (c *Client) Deploy(ctx context.Context, r DeployRequest) (DeployOutcome, error) {
	return send[DeployOutcome](ctx, c, http.MethodPost, "/deployments", r)
}

// Deployments lists the deployments that stand, the newest first.
func (c *Client) Deployments(ctx context.Context) (List[DeployRow], error) {
	return get[List[DeployRow]](ctx, c, "/deployments", nil)
}

// Undeploy ends a deployment: devices that still lack the application do not get it any more.
func (c *Client) Undeploy(ctx context.Context, act int64) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/deployments/"+strconv.FormatInt(act, 10), nil)
}
