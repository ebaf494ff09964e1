package client

import "context"

// PackageInfo is one installed package of a device.
type PackageInfo struct {
	Name          string `json:"name"`
	Arch          string `json:"arch"`
	Version       string `json:"version"`
	Status        string `json:"status"` // in the package manager's words: "ii"
	Source        string `json:"source"`
	SourceVersion string `json:"source_version"`
	Ecosystem     string `json:"ecosystem"`
	Auto          bool   `json:"auto,omitempty"` // installed as a dependency only
	Hold          bool   `json:"hold,omitempty"`
	How           string `json:"how,omitempty"` // how this version came (V4)
}

// InventoryQuery selects packages of a device.
type InventoryQuery struct {
	Search string // words, each found in name, version or source
	Auto   *bool
	Hold   *bool
}

// Inventory lists what is installed on a device.
func (c *Client) Inventory(ctx context.Context, device string, q InventoryQuery, p Page) (List[PackageInfo], error) {
	return get[List[PackageInfo]](ctx, c, "/devices/"+escape(device)+"/packages", p.add(values("search", q.Search, "auto", yesNo(q.Auto), "hold", yesNo(q.Hold))))
}
