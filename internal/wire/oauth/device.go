// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/oauth2"
)

const (
	// maxInterval is the longest pause between two questions whether consent
	// was given, in seconds. The provider names one; 5 are usual.
	maxInterval = 60
	// defaultInterval is that of RFC 8628 section 3.2.
	defaultInterval = 5
	// maxUserCode is the longest code to type in, in bytes.
	maxUserCode = 64
)

// beginDevice asks for a code to type in (RFC 8628 section 3.1), and begins to
// ask whether that was done.
func (k *Keeper) beginDevice(ctx context.Context, l *login) error {
	const doing = "asking for a device code"
	config := l.config()
	var options []oauth2.AuthCodeOption
	if l.account.Secret != "" {
		options = append(options, oauth2.SetAuthURLParam("client_secret", l.account.Secret))
	}
	d, err := config.DeviceAuth(k.with(ctx), options...)
	if err != nil {
		return explain(doing, err)
	}
	if d.DeviceCode == "" || d.UserCode == "" || len(d.UserCode) > maxUserCode || plain(d.UserCode) != d.UserCode {
		return fmt.Errorf("%s: the answer has no code to type in: %w", doing, ErrClient)
	}
	if err := CheckURL(d.VerificationURI); err != nil {
		return fmt.Errorf("%s: the page to open: %w: %w", doing, err, ErrClient)
	}
	if !d.Expiry.IsZero() && d.Expiry.Before(l.Expires) {
		l.Expires = d.Expiry
	}
	d.Expiry, d.Interval = time.Time{}, pause(d.Interval)
	l.URL, l.Code, l.done = d.VerificationURI, d.UserCode, make(chan struct{})
	polling, cancel := context.WithTimeout(k.with(context.WithoutCancel(ctx)), l.Expires.Sub(k.Now()))
	l.cancel = cancel
	go func() {
		defer cancel()
		defer close(l.done)
		l.err = k.finishDevice(polling, l, config, d)
	}()
	return nil
}

// pause returns the seconds between two questions.
func pause(said int64) int64 {
	if said <= 0 {
		return defaultInterval
	}
	return min(said, maxInterval)
}

// finishDevice asks until consent is given or refused (RFC 8628 section 3.4).
// While the provider does not answer it asks ever more seldom, as section 3.5
// wants it.
func (k *Keeper) finishDevice(ctx context.Context, l *login, config *oauth2.Config, d *oauth2.DeviceAuthResponse) error {
	for {
		t, err := config.DeviceAccessToken(ctx, d)
		if err == nil {
			saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
			defer cancel()
			return k.settle(saving, l, t)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("nobody gave consent in time, or a newer login took the place of this one: %w", ErrConsent)
		}
		if err = explain("waiting for consent", err); !errors.Is(err, ErrUnavailable) {
			return err
		}
		d.Interval = min(d.Interval*2, maxInterval)
	}
}
