// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A nameServer is a recursive name server of the test's process.
type nameServer struct {
	// zone are its records, in the form of a zone file.
	zone []string
	// secure makes it say that its answers are proven.
	secure bool
	// act is asked first; it returns nil for the ordinary answer.
	act func(network string, q dns.Question) *dns.Msg

	mu    sync.Mutex
	asked []string // "udp example.com. MX"
	conns int      // TCP and TLS connections
}

// start listens on one port by UDP and TCP.
func (s *nameServer) start(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 20 { // the port of one may be taken for the other
		pc, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", pc.LocalAddr().String())
		if err != nil {
			_ = pc.Close()
			continue
		}
		s.run(t, &dns.Server{PacketConn: pc, Handler: s.handler("udp")})
		s.run(t, &dns.Server{Listener: s.counted(ln), Handler: s.handler("tcp")})
		return netip.MustParseAddrPort(pc.LocalAddr().String())
	}
	t.Fatal("no port")
	return netip.AddrPort{}
}

// startTLS listens by TLS, and returns how to trust it.
func (s *nameServer) startTLS(t *testing.T, names ...string) (netip.AddrPort, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<34, 0), DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(ln.Addr().String())
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.run(t, &dns.Server{Listener: tls.NewListener(s.counted(ln), config), Handler: s.handler("tls")})
	return address, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
}

func (*nameServer) run(t *testing.T, server *dns.Server) {
	t.Helper()
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() { _ = server.ActivateAndServe() }() // it ends with an error when it is shut down
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })
}

type countedListener struct {
	net.Listener

	s *nameServer
}

func (s *nameServer) counted(ln net.Listener) net.Listener { return &countedListener{ln, s} }

func (l *countedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		l.s.mu.Lock()
		l.s.conns++
		l.s.mu.Unlock()
	}
	return nc, err
}

// questions returns what it was asked, and forgets it.
func (s *nameServer) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func (s *nameServer) handler(network string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, question *dns.Msg) {
		q := question.Question[0]
		s.mu.Lock()
		s.asked = append(s.asked, network+" "+q.Name+" "+dns.TypeToString[q.Qtype])
		act := s.act
		s.mu.Unlock()
		if act != nil {
			if msg := act(network, q); msg != nil {
				msg.Id = question.Id
				if msg.Question == nil {
					msg.Question = question.Question
				}
				msg.Response = true
				_ = w.WriteMsg(msg)
				return
			}
		}
		msg := new(dns.Msg).SetReply(question)
		msg.AuthenticatedData = s.secure && question.AuthenticatedData
		s.answer(msg, q)
		if network == "udp" {
			msg.Truncate(udpSize)
		}
		_ = w.WriteMsg(msg)
	}
}

// answer follows aliases as a recursive server does.
func (s *nameServer) answer(msg *dns.Msg, q dns.Question) {
	msg.Rcode = dns.RcodeNameError
	name, found := q.Name, false
	for range 20 {
		var alias string
		for _, text := range s.zone {
			rr, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			msg.Rcode = dns.RcodeSuccess
			switch rr := rr.(type) {
			case *dns.CNAME:
				msg.Answer = append(msg.Answer, rr)
				alias = rr.Target
			default:
				if rr.Header().Rrtype == q.Qtype {
					msg.Answer, found = append(msg.Answer, rr), true
				}
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	for _, text := range s.zone {
		rr, _ := dns.NewRR(text)
		if rr.Header().Rrtype == dns.TypeSOA && !found {
			msg.Ns = append(msg.Ns, rr)
		}
	}
}
