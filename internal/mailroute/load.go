// SPDX-License-Identifier: Apache-2.0

package mailroute

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Loaded is a step whose handler is provisioned.
type Loaded struct {
	// Name is the handler's name.
	Name string
	// Match are the names of its matchers.
	Match []string
	// Handler is the module.
	Handler mailflow.Handler
}

// LoadSteps provisions the handlers of steps. It is called in Provision.
func LoadSteps(ctx caddy.Context, steps []Step) ([]Loaded, error) {
	var loaded []Loaded
	for i := range steps {
		s := &steps[i]
		var key struct {
			Handler string `json:"handler"`
		}
		if err := json.Unmarshal(s.HandleRaw, &key); err != nil {
			return nil, fmt.Errorf("loading step %d: %w", i+1, err)
		}
		mod, err := ctx.LoadModule(s, "HandleRaw")
		if err != nil {
			return nil, fmt.Errorf("loading mail handlers: step %d: %w", i+1, err)
		}
		h, ok := mod.(mailflow.Handler)
		if !ok {
			return nil, fmt.Errorf("loading mail handlers: step %d: module %s is no handler", i+1, key.Handler)
		}
		loaded = append(loaded, Loaded{Name: key.Handler, Match: s.Match, Handler: h})
	}
	return loaded, nil
}

// LoadMatchers provisions named matchers. It is called in Provision; sets is
// left as it is.
func LoadMatchers(ctx caddy.Context, sets map[string]caddy.ModuleMap) (map[string]mailflow.Matcher, error) {
	matchers := make(map[string]mailflow.Matcher, len(sets))
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		set, err := LoadMatcherSet(ctx, sets[name])
		if err != nil {
			return nil, fmt.Errorf("loading matcher @%s: %w", name, err)
		}
		matchers[name] = set
	}
	return matchers, nil
}

// LoadMatcherSet provisions the matchers of one set, which all must hold.
func LoadMatcherSet(ctx caddy.Context, set caddy.ModuleMap) (mailflow.MatcherSet, error) {
	var ms mailflow.MatcherSet
	for _, name := range slices.Sorted(maps.Keys(set)) {
		mod, err := ctx.LoadModuleByID("mail.matchers."+name, set[name])
		if err != nil {
			return nil, err
		}
		m, ok := mod.(mailflow.Matcher)
		if !ok {
			return nil, fmt.Errorf("module mail.matchers.%s is no matcher", name)
		}
		ms = append(ms, m)
	}
	if len(ms) == 0 {
		return nil, errors.New("it has no matchers; to match everything leave it out")
	}
	return ms, nil
}

// UseServices hands the services to the matchers that want them, also to those
// in sets. Handlers get them from [Compile].
func UseServices(s *mailflow.Services, matchers ...mailflow.Matcher) error {
	for _, m := range matchers {
		if set, ok := m.(mailflow.MatcherSet); ok {
			if err := UseServices(s, set...); err != nil {
				return err
			}
			continue
		}
		if u, ok := m.(mailflow.ServicesUser); ok {
			if err := u.UseServices(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// RouteBound is a handler that has a meaning in one of the routes only.
type RouteBound interface {
	// OnlyIn returns the route, or "" for any.
	OnlyIn() mailflow.RouteName
}

// Compile makes the route of that name out of loaded steps and hands the
// services to their handlers. It is called once, when the services are
// complete. A handler that is bound to the other route is refused; a nested
// route, whose place is not known, has the name "".
func Compile(s *mailflow.Services, name mailflow.RouteName, steps []Loaded) (mailflow.Route, error) {
	var route mailflow.Route
	for _, l := range steps {
		if b, ok := l.Handler.(RouteBound); ok && name != "" {
			if only := b.OnlyIn(); only != "" && only != name {
				return nil, fmt.Errorf("handler %s belongs into the %s route, not into %s", l.Name, only, name)
			}
		}
		step, err := s.Step(l.Name, l.Match, l.Handler)
		if err != nil {
			return nil, err
		}
		route = append(route, step)
	}
	return route, nil
}
