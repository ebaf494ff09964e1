package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"assent/client"
)

// document is the OpenAPI description, made once at the start.
type document struct{ json, yaml []byte }

func describe(spec *huma.OpenAPI) (document, error) {
	j, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return document{}, fmt.Errorf("api: describe the routes as JSON: %w", err)
	}
	y, err := spec.YAML()
	if err != nil {
		return document{}, fmt.Errorf("api: describe the routes as YAML: %w", err)
	}
	return document{json: j, yaml: y}, nil
}

// mount serves the document. It needs no credential: it holds nothing that the source does not.
func (d document) mount(mux *http.ServeMux) {
	serve := func(kind string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(body)
		}
	}
	mux.HandleFunc("GET "+Prefix+"/openapi.json", serve("application/vnd.oai.openapi+json; version=3.1", d.json))
	mux.HandleFunc("GET "+Prefix+"/openapi.yaml", serve("application/vnd.oai.openapi; version=3.1", d.yaml))
}

// newRegistry names schemas after their types; where two packages have a type of the same name, the
// package's name is put before it.
func newRegistry() huma.Registry {
	taken := map[string]reflect.Type{}
	return huma.NewMapRegistry("#/components/schemas/", func(t reflect.Type, hint string) string {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		name := huma.DefaultSchemaNamer(t, hint)
		if other, ok := taken[name]; ok && other != t && t.PkgPath() != "" {
			pkg := t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:]
			name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
		}
		taken[name] = t
		return name
	})
}

const problemSchema = "Problem"

// problemResponse is every route's answer when it refuses.
func problemResponse() *huma.Response {
	return &huma.Response{Description: "A refusal", Content: map[string]*huma.MediaType{
		"application/problem+json": {Schema: &huma.Schema{Ref: "#/components/schemas/" + problemSchema}},
	}}
}

// tidySchemas puts our problem where huma had its own error model.
func tidySchemas(spec *huma.OpenAPI) {
	schemas := spec.Components.Schemas
	schemas.Schema(reflect.TypeFor[client.Problem](), true, problemSchema)
	all := schemas.Map()
	delete(all, "ErrorModel")
	delete(all, "ErrorDetail")
}
