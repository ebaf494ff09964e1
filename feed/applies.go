package feed

import (
	"fmt"
	"strings"

	"assent/pkgver"
)

// Applies reports whether an installed version meets any of some constraints; no constraints are met by all. A
// constraint is one or more comparisons, all of which must hold, separated by commas: "1.2", ">=1.0, <2.0". The error
// says that it cannot be judged: unknown holds.
func Applies(ecosystem string, constraints []string, installed string) (bool, error) {
	if len(constraints) == 0 {
		return true, nil
	}
	for _, c := range constraints {
		ok, err := meets(ecosystem, c, installed)
		if err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

func meets(ecosystem, constraint, installed string) (bool, error) {
	all := true
	for comparison := range strings.SplitSeq(constraint, ",") {
		comparison = strings.TrimSpace(comparison)
		operator := strings.TrimRight(comparison[:min(2, len(comparison))], "0123456789. ")
		version := strings.TrimSpace(strings.TrimPrefix(comparison, operator))
		order, err := pkgver.Compare(ecosystem, installed, version)
		if err != nil {
			return false, fmt.Errorf("constraint %.80q: %w", constraint, err)
		}
		switch operator {
		case "", "=":
			all = all && order == 0
		case "<":
			all = all && order < 0
		case "<=":
			all = all && order <= 0
		case ">":
			all = all && order > 0
		case ">=":
			all = all && order >= 0
		default:
			return false, fmt.Errorf("constraint %.80q has the unknown operator %q", constraint, operator)
		}
	}
	return all, nil
}
