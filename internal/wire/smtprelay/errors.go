// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"errors"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// ErrOutcomeUnknown is wrapped by an error that lost the reply to the content:
// the server may have taken the mail.
var ErrOutcomeUnknown = errors.New("outcome unknown: the connection broke before the reply to the content")

// Errors of a [StageError].
var (
	// ErrNoSTARTTLS says that TLS is required and not offered.
	ErrNoSTARTTLS = errors.New("server does not offer STARTTLS")
	// ErrClearPassword says that a password would have to leave in clear.
	ErrClearPassword = errors.New("refusing to send a password in clear")
	// ErrMechanism says that the server does not offer the mechanism.
	ErrMechanism = errors.New("server does not offer AUTH by this mechanism")
)

// errStale is wrapped by an error that came before the first reply to MAIL.
var errStale = errors.New("connection closed before the reply to MAIL")

// errRefused stands for the reply of a [StageError].
var errRefused = errors.New("server refused")

// Stage is a step on the way to an open connection.
type Stage string

// The stages. They are also the names of the steps of [Probe].
const (
	StageResolve Stage = "resolve"
	StageConnect Stage = "connect" // with the greeting
	StageTLS     Stage = "tls"
	StageHello   Stage = "ehlo"
	StageAuth    Stage = "auth"
	StageMail    Stage = "mail"
	StageRcpt    Stage = "rcpt"
)

// doing says each stage in a gerund.
var doing = map[Stage]string{
	StageResolve: "looking up the server",
	StageConnect: "connecting",
	StageTLS:     "starting TLS",
	StageHello:   "saying hello",
	StageAuth:    "logging in",
}

// StageError is the error of [Dial]. It wraps [mailflow.ErrUnreachable] and
// never a reply: what it stands for is temporary for every mail.
type StageError struct {
	// Stage is where it failed.
	Stage Stage
	// Reply is what the server answered; nil if it did not.
	Reply *mailflow.Reply
	// Err is the cause.
	Err error
}

// Error says the stage, and the reply or the cause.
func (e *StageError) Error() string {
	if e.Reply != nil {
		return doing[e.Stage] + ": server answered " + e.Reply.String()
	}
	return doing[e.Stage] + ": " + e.Err.Error()
}

// Unwrap returns [mailflow.ErrUnreachable] and the cause.
func (e *StageError) Unwrap() []error { return []error{mailflow.ErrUnreachable, e.Err} }

// refused returns the error on rep at a stage.
func refused(stage Stage, rep reply) error {
	return &StageError{Stage: stage, Reply: rep.public(), Err: errRefused}
}

// broken returns the error on err at a stage; nil for nil.
func broken(stage Stage, err error) error {
	var at *StageError
	if err == nil || errors.As(err, &at) {
		return err
	}
	return &StageError{Stage: stage, Err: err}
}
