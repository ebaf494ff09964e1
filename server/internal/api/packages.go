package api

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"assent/client"
	"assent/server/internal/auth"
)

// Deployments put applications onto devices that lack them.
type Deployments interface {
	Deploy(ctx context.Context, who auth.Actor, r client.DeployRequest) (client.DeployOutcome, error)
	Deployments(ctx context.Context, who auth.Actor) (client.List[client.DeployRow], error)
	Undeploy(ctx context.Context, who auth.Actor, id int64) (client.Act, error)
}

// Packages are installation packages.
type Packages interface {
	Packages(ctx context.Context, who auth.Actor) (client.List[client.PackageRow], error)
	Package(ctx context.Context, who auth.Actor, ref string) (client.PackageRow, error)
	CreatePackage(ctx context.Context, who auth.Actor, r client.PackageRequest) (client.PackageRow, error)
	DeletePackage(ctx context.Context, who auth.Actor, ref string) (client.Act, error)
	// Download builds the file of a package. The file of the agent's package carries an enrolment token that the call
	// makes. The caller closes Body.
	Download(ctx context.Context, who auth.Actor, ref string, r client.PackageDownload) (client.Download, error)
}

// packageRoutes are the part of the table about packages and deployments.
func (s *server) packageRoutes() []Route {
	return []Route{
		route(Viewer, http.MethodGet, "/packages", "list-packages", "List the installation packages", s.packages),
		route(Viewer, http.MethodGet, "/packages/{package}", "get-package", "Show an installation package", s.onePackage),
		route(Approver, http.MethodPost, "/packages", "create-package", "Make an installation package", s.createPackage),
		route(Approver, http.MethodDelete, "/packages/{package}", "delete-package", "Delete an installation package", s.deletePackage),
		file(Approver, "/packages/{package}/downloads", "download-package", "Build the file of an installation package", s.download),
		route(Viewer, http.MethodGet, "/deployments", "list-deployments", "List the deployments that stand", s.deployments),
		patient(route(Approver, http.MethodPost, "/deployments", "deploy", "Put an application onto devices that lack it", s.deploy)),
		route(Approver, http.MethodDelete, "/deployments/{id}", "end-deployment", "End a deployment", s.undeploy),
	}
}

// file makes a line of the table whose answer is a file.
func file[I any](need Need, path, id, summary string, handle func(context.Context, auth.Session, *I) (client.Download, error)) Route {
	register := func(r Route, s *server, h huma.API) {
		op := s.operation(r)
		op.Responses["200"] = &huma.Response{Description: "The file", Content: map[string]*huma.MediaType{"application/octet-stream": {}}}
		huma.Register(h, op, func(ctx context.Context, input *I) (*huma.StreamResponse, error) {
			d, err := handle(ctx, caller(ctx), input)
			if err != nil {
				return nil, s.fail(ctx, r, err)
			}
			return &huma.StreamResponse{Body: func(h huma.Context) { s.sendFile(h, d) }}, nil
		})
	}
	return patient(Route{Method: http.MethodPost, Path: path, Need: need, Summary: summary, id: id, register: register, body: true})
}

// sendFile streams a file. What goes wrong after the first byte breaks the connection, so that half a file never looks
// whole.
func (s *server) sendFile(h huma.Context, d client.Download) {
	defer d.Body.Close()
	h.SetHeader("Content-Type", "application/octet-stream")
	h.SetHeader("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": d.Name}))
	h.SetHeader("Content-Length", strconv.FormatInt(d.Size, 10))
	h.SetHeader("Cache-Control", "no-store")
	for name, value := range map[string]string{client.HeaderSHA256: d.SHA256, client.HeaderToken: d.Token} {
		if value != "" {
			h.SetHeader(name, value)
		}
	}
	if d.Token != "" {
		h.SetHeader(client.HeaderUntil, d.Until.UTC().Format(time.RFC3339))
	}
	if n, err := io.Copy(h.BodyWriter(), d.Body); err != nil || n != d.Size {
		s.Log.Warn("a download broke off", "file", d.Name, "sent", n, "size", d.Size, "error", err)
		panic(http.ErrAbortHandler)
	}
}

type packageInput struct {
	Package string `path:"package" maxLength:"400" doc:"Id or name."`
}

type downloadInput struct {
	Package string `path:"package" maxLength:"400" doc:"Id or name."`
	Body    client.PackageDownload
}

type deploymentInput struct {
	ID int64 `path:"id" minimum:"1" doc:"The act that deployed."`
}

func (s *server) packages(ctx context.Context, who auth.Session, _ *none) (client.List[client.PackageRow], error) {
	return s.Packages.Packages(ctx, who.Actor)
}

func (s *server) onePackage(ctx context.Context, who auth.Session, in *packageInput) (client.PackageRow, error) {
	return s.Packages.Package(ctx, who.Actor, in.Package)
}

func (s *server) createPackage(ctx context.Context, who auth.Session, in *in[client.PackageRequest]) (client.PackageRow, error) {
	return s.Packages.CreatePackage(ctx, who.Actor, in.Body)
}

func (s *server) deletePackage(ctx context.Context, who auth.Session, in *packageInput) (client.Act, error) {
	return s.Packages.DeletePackage(ctx, who.Actor, in.Package)
}

func (s *server) download(ctx context.Context, who auth.Session, in *downloadInput) (client.Download, error) {
	return s.Packages.Download(ctx, who.Actor, in.Package, in.Body)
}

func (s *server) deployments(ctx context.Context, who auth.Session, _ *none) (client.List[client.DeployRow], error) {
	return s.Decide.Deployments(ctx, who.Actor)
}

func (s *server) deploy(ctx context.Context, who auth.Session, in *in[client.DeployRequest]) (client.DeployOutcome, error) {
	return s.Decide.Deploy(ctx, who.Actor, in.Body)
}

func (s *server) undeploy(ctx context.Context, who auth.Session, in *deploymentInput) (client.Act, error) {
	return s.Decide.Undeploy(ctx, who.Actor, in.ID)
}
