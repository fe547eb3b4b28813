// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxAliases is the most CNAME records that are followed for one name: a
	// longer chain is a mistake or a loop.
	maxAliases = 8
	// lookupTimeout bounds a look-up as a whole, whoever waits for it.
	lookupTimeout = 20 * time.Second
)

// A question is a name, absolute and in lower case, and a record type.
type question struct {
	name  string
	qtype uint16
}

// A result is the answer to a question: the records of its type, none if there
// are none.
type result struct {
	records []dns.RR
	secure  bool
}

// resolve answers q from the cache or by asking. The caller's context ends the
// waiting, not the asking, which others may wait for too.
func (r *Resolver) resolve(ctx context.Context, q question) (result, error) {
	if found, ok := r.cache.get(q, r.cfg.Now()); ok {
		return found, nil
	}
	flight := r.flights.DoChan(q.name+" "+strconv.Itoa(int(q.qtype)), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		return r.follow(ctx, q)
	})
	select {
	case <-ctx.Done():
		return result{}, context.Cause(ctx)
	case got := <-flight:
		if got.Err != nil {
			return result{}, got.Err
		}
		return got.Val.(result), nil
	}
}

// follow asks for q, and for the end of its aliases where the server does not
// tell it, and keeps the answer.
func (r *Resolver) follow(ctx context.Context, q question) (result, error) {
	found := answer{result: result{secure: true}, ttl: maxTTL, keep: true}
	name, left := q.name, maxAliases
	for {
		msg, trusted, err := r.exchange(ctx, question{name, q.qtype})
		if err != nil {
			return result{}, err
		}
		found.secure = found.secure && trusted && msg.AuthenticatedData
		end, err := found.read(msg, question{name, q.qtype}, &left)
		if err != nil {
			return result{}, err
		}
		if end == "" {
			break
		}
		name = end
	}
	if found.keep {
		r.cache.put(q, found.result, r.cfg.Now().Add(found.ttl))
	}
	return found.result, nil
}

// An answer is a result on its way.
type answer struct {
	result

	ttl  time.Duration // for which it holds
	keep bool          // whether it may be kept
}

// read takes the records for q from msg. It returns the name that is to be
// asked for instead, if the aliases in msg lead out of it.
func (a *answer) read(msg *dns.Msg, q question, left *int) (string, error) {
	name := q.name
	for {
		var alias string
		for _, rr := range msg.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, name) {
				continue
			}
			if cname, ok := rr.(*dns.CNAME); ok {
				alias = absolute(cname.Target)
				a.holds(h.Ttl)
			}
			if h.Rrtype == q.qtype {
				a.records = append(a.records, rr)
				a.holds(h.Ttl)
			}
		}
		if len(a.records) > 0 {
			return "", nil
		}
		if alias == "" {
			break
		}
		if *left--; *left < 0 {
			return "", errors.New("too many aliases")
		}
		name = alias
	}
	if name != q.name && msg.Rcode == dns.RcodeSuccess && soa(msg) == nil {
		return name, nil
	}
	a.nothing(msg)
	return "", nil
}

// holds bounds the time for which the answer holds.
func (a *answer) holds(ttl uint32) {
	a.ttl = min(a.ttl, max(time.Duration(ttl)*time.Second, minTTL))
}

// nothing notes an answer without records, which holds for the time that the
// SOA record names (RFC 2308 section 5).
func (a *answer) nothing(msg *dns.Msg) {
	s := soa(msg)
	if s == nil {
		a.keep = false
		return
	}
	a.ttl = min(a.ttl, maxNegativeTTL)
	a.holds(min(s.Hdr.Ttl, s.Minttl))
}

// soa returns the SOA record of an answer without records; nil if it has none.
func soa(msg *dns.Msg) *dns.SOA {
	i := slices.IndexFunc(msg.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
	if i < 0 {
		return nil
	}
	s, _ := msg.Ns[i].(*dns.SOA)
	return s
}

// judge returns the error that a server's answer stands for; nil if it is one
// to q.
func judge(msg *dns.Msg, q question) error {
	switch {
	case !msg.Response || len(msg.Question) != 1 || !strings.EqualFold(msg.Question[0].Name, q.name) || msg.Question[0].Qtype != q.qtype:
		return errors.New("name server answered another question")
	case msg.Rcode == dns.RcodeSuccess, msg.Rcode == dns.RcodeNameError:
		return nil
	}
	code, ok := dns.RcodeToString[msg.Rcode]
	if !ok {
		code = strconv.Itoa(msg.Rcode)
	}
	return fmt.Errorf("name server answered %s", code)
}
