package web

import (
	"net/url"
	"slices"
	"strconv"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/installation"
)

// updateFilter reads the filter of a list of updates from an address's query. A value that no update can have is
// refused: a slip must not select nothing, or in a bulk act everything, without a word.
func updateFilter(q url.Values) (client.Filter, error) {
	f := client.Filter{Search: q.Get("search"), Origin: given(q["origin"]), Device: q.Get("device"), View: q.Get("view")}
	for key, to := range map[string]**bool{"security": &f.Security, "needed": &f.Needed, "superseded": &f.Superseded, "gated": &f.Gated, "revoked": &f.Revoked, "exploited": &f.Exploited,
		"installed": &f.Installed, "changed": &f.Changed, "agreements": &f.Agreements} {
		var err error
		if *to, err = yesOrNo(q, key); err != nil {
			return f, err
		}
	}
	if f.View != "" && f.View != client.Seamless {
		return f, fault.New(fault.Invalid, "value_unknown", "There is no view %.80q.", f.View).On("view")
	}
	var err error
	if f.Status, err = oneOf(q, "status", approval.Undefined, approval.Approved, approval.Declined); err != nil {
		return f, err
	}
	if f.Class, err = oneOf(q, "class", catalog.Component, catalog.Managed, catalog.ThirdParty, catalog.Content); err != nil {
		return f, err
	}
	if f.Severity, err = oneOf(q, "severity", catalog.Unrated, catalog.Low, catalog.Medium, catalog.High, catalog.Critical); err != nil {
		return f, err
	}
	f.State, err = oneOf(q, "state", installation.States()...)
	return f, err
}

// yesOrNo reads a parameter that is true, false or not there.
func yesOrNo(q url.Values, key string) (*bool, error) {
	text := q.Get(key)
	if text == "" {
		return nil, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "value_unknown", "%.80q is neither true nor false.", text).On(key)
	}
	return &b, nil
}

// oneOf reads values of a closed set from a query.
func oneOf[T ~string](q url.Values, key string, all ...T) ([]T, error) {
	var out []T
	for _, value := range given(q[key]) {
		if !slices.Contains(all, T(value)) {
			return nil, fault.New(fault.Invalid, "value_unknown", "%.80q is not one of %v.", value, all).On(key)
		}
		out = append(out, T(value))
	}
	return out, nil
}

// given are the values that are not empty: a form sends its empty fields too.
func given(values []string) []string {
	return slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
}
