package azure

import (
	"slices"
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
)

const maxSelected = 1000

// selection is what $select asks for: a property with nil below it is taken whole. A nil selection is everything.
type selection struct {
	below map[string]*selection
}

// property says whether a property is selected, and what of it.
func (s *selection) property(name string) (*selection, bool) {
	if s == nil {
		return nil, true
	}
	below, ok := s.below[name]
	return below, ok
}

// parseSelect reads a comma list of property names, of which some may be paths (executionInfo/exitCode). Names that the
// resource never had are refused.
func parseSelect(text string, t *messageTable) (*selection, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	root := &selection{below: map[string]*selection{}}
	count := 0
	for path := range strings.SplitSeq(text, ",") {
		if count++; count > maxSelected {
			return nil, batcherr.InvalidQuery("$select", "", "The list is too long.")
		}
		path = strings.TrimSpace(path)
		if path == "" {
			continue
		}
		if !t.knows(path) {
			return nil, batcherr.InvalidQuery("$select", path, "There is no such property.")
		}
		root.add(path)
	}
	return root, nil
}

// add selects a path; a property that is selected whole stays so.
func (s *selection) add(path string) {
	name, rest, nested := strings.Cut(path, "/")
	below, ok := s.below[name]
	switch {
	case !nested:
		s.below[name] = nil
	case ok && below == nil:
	default:
		if below == nil {
			below = &selection{below: map[string]*selection{}}
			s.below[name] = below
		}
		below.add(rest)
	}
}

// forServices lists the properties of the top level that the services know, and id, of which links are made.
func (s *selection) forServices(t *messageTable) string {
	if s == nil {
		return ""
	}
	names := []string{"id"}
	for name := range s.below {
		if t.byName[name] != nil && name != "id" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// knows says whether a path exists in some api-version.
func (t *messageTable) knows(path string) bool {
	for path != "" && t != nil {
		var name string
		name, path, _ = strings.Cut(path, "/")
		f, ok := t.byName[name]
		if !ok {
			_, older := t.older[name]
			return older
		}
		t = f.message
	}
	return path == ""
}
