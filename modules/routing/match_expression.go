// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/rule/auto"
	"github.com/mailcaddy/mailcaddy/internal/rule/domainauth"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MatchExpression)) }

// Limits on an expression, since it runs over what a stranger wrote.
const (
	// maxExpressionCost bounds the work of one evaluation, in CEL's units: a
	// comparison costs one, a text one for each ten bytes. Expressions that
	// look at a few fields stay below a thousand.
	maxExpressionCost = 100_000
	// interruptEvery is after how many steps of a loop the deadline is asked.
	interruptEvery = 100
)

// MatchExpression matches by an expression in CEL, the Common Expression
// Language, as in Caddy. It is checked when the configuration is loaded and
// has to be true or false. The variables are
//
//	from       string               the author's address
//	rcpt       string               the recipient
//	size       int                  the message in bytes
//	subject    string               decoded
//	header     map(string, list(string))  decoded; names in lower case
//	listener   string               its name
//	user       string               who logged in, or ""
//	remote_ip  string               the peer's address, or ""
//	hello      string               what the peer called itself
//	tls        string               "TLS 1.3", or "" in clear
//	tags       map(string, string)  the marks on the message
//	auth       map(string, list(string))  the results of each method, as in
//	                                '"pass" in auth.dmarc'; see auth_result
//	automatic  string               the kind of automatic mail, or ""
//
// One that uses from, size, subject, header, auth or automatic needs the
// content. One that ends in an error, such as a field that is not there, does
// not match, and the trace says so: ask '"x-spam" in header' first.
//
// The JSON is the expression as a string.
type MatchExpression struct {
	expr    string
	program cel.Program
	blind   bool // needs the content
}

// CaddyModule returns the Caddy module information.
func (*MatchExpression) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.expression", New: func() caddy.Module { return new(MatchExpression) }}
}

// MarshalJSON implements json.Marshaler.
func (m MatchExpression) MarshalJSON() ([]byte, error) { return json.Marshal(m.expr) }

// UnmarshalJSON implements json.Unmarshaler.
func (m *MatchExpression) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &m.expr) }

// contentVariables are the variables that need the content.
var contentVariables = []string{"from", "size", "subject", "header", "auth", "automatic"}

// Provision compiles the expression.
func (m *MatchExpression) Provision(caddy.Context) error {
	env, err := cel.NewEnv(
		cel.Variable("from", cel.StringType),
		cel.Variable("rcpt", cel.StringType),
		cel.Variable("size", cel.IntType),
		cel.Variable("subject", cel.StringType),
		cel.Variable("header", cel.MapType(cel.StringType, cel.ListType(cel.StringType))),
		cel.Variable("listener", cel.StringType),
		cel.Variable("user", cel.StringType),
		cel.Variable("remote_ip", cel.StringType),
		cel.Variable("hello", cel.StringType),
		cel.Variable("tls", cel.StringType),
		cel.Variable("tags", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("auth", cel.MapType(cel.StringType, cel.ListType(cel.StringType))),
		cel.Variable("automatic", cel.StringType),
		ext.Strings(),
	)
	if err != nil {
		return fmt.Errorf("setting up CEL: %w", err)
	}
	checked, issues := env.Compile(m.expr)
	if err := issues.Err(); err != nil {
		return fmt.Errorf("compiling the expression: %w", err)
	}
	if checked.OutputType() != cel.BoolType {
		return fmt.Errorf("the expression gives %s, not true or false", checked.OutputType())
	}
	for _, ref := range checked.NativeRep().ReferenceMap() {
		for _, name := range contentVariables {
			m.blind = m.blind || ref.Name == name
		}
	}
	m.program, err = env.Program(checked,
		cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxExpressionCost), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return fmt.Errorf("compiling the expression: %w", err)
	}
	return nil
}

// Match implements mailflow.Matcher.
func (m *MatchExpression) Match(ctx context.Context, tx *mailflow.Transaction, rcpt mailflow.Recipient) (bool, error) {
	if m.blind && tx.Message == nil {
		return false, nil
	}
	out, _, err := m.program.ContextEval(ctx, &variables{tx: tx, rcpt: rcpt})
	if ctxErr := ctx.Err(); ctxErr != nil {
		return false, errors.Join(ctxErr, err)
	}
	if err != nil {
		tx.Trace.Note("expression_error", err.Error())
		return false, nil // the stranger's mail is at fault, and deferring it would not help
	}
	ok, _ := out.Value().(bool)
	return ok, nil
}

// EnvelopeOnly implements mailflow.EnvelopeMatcher.
func (m *MatchExpression) EnvelopeOnly() bool { return !m.blind }

// variables are the values of the variables, made when they are asked for.
type variables struct {
	tx   *mailflow.Transaction
	rcpt mailflow.Recipient
}

// ResolveName implements cel.Activation.
func (v *variables) ResolveName(name string) (any, bool) {
	if v.tx.Message != nil {
		if value, ok := v.ofContent(name); ok {
			return value, true
		}
	}
	switch peer := v.tx.Peer; name {
	case "rcpt":
		return v.rcpt.Address.String(), true
	case "listener":
		return peer.Listener, true
	case "user":
		return peer.User, true
	case "remote_ip":
		if !peer.IP.IsValid() {
			return "", true
		}
		return peer.IP.Unmap().String(), true
	case "hello":
		return peer.Hello, true
	case "tls":
		return peer.TLS, true
	case "tags":
		if tags := v.tx.Tags(); tags != nil {
			return tags, true
		}
		return map[string]string{}, true
	}
	return nil, false
}

// ofContent returns the variables that need the content.
func (v *variables) ofContent(name string) (any, bool) {
	m := v.tx.Message
	switch name {
	case "from":
		return authorOf(v.tx, mailflow.BehaviorDocumented).Address.String(), true
	case "size":
		return m.Size(), true
	case "subject":
		return m.Header.Get("Subject"), true
	case "header":
		all := make(map[string][]string)
		for _, f := range m.Header.Fields() {
			key := strings.ToLower(f.Name)
			all[key] = append(all[key], f.Text())
		}
		return all, true
	case "auth":
		all := make(map[string][]string)
		for _, method := range domainauth.Methods {
			all[method] = authResults(v.tx, method)
		}
		return all, true
	case "automatic":
		kind, _ := auto.Of(m.Header)
		return string(kind), true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (*variables) Parent() cel.Activation { return nil }

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	expression <cel...>
//
// An expression with quotes in it stands in backticks.
func (m *MatchExpression) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.CountRemainingArgs() > 1 {
		m.expr = strings.Join(d.RemainingArgsRaw(), " ")
	} else if !d.AllArgs(&m.expr) {
		return d.ArgErr()
	}
	if d.Next() {
		return d.Errf("a set has one expression; join them with &&")
	}
	return nil
}

var (
	_ caddy.Provisioner        = (*MatchExpression)(nil)
	_ mailflow.EnvelopeMatcher = (*MatchExpression)(nil)
	_ caddyfile.Unmarshaler    = (*MatchExpression)(nil)
)
