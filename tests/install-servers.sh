#!/bin/sh
# Installs what the full tests need, on Debian and its like, as root: Postfix, Dovecot, ClickHouse, Prometheus,
# Alertmanager, systemd's journal tools, libfaketime, Java 17 and Maven (which fetches Apache Kafka). rsyslog and
# syslog-ng, of which a machine can have only one, are unpacked into var/tests/syslog. Starts nothing and configures
# nothing: the tests start their own instances on loopback ports.
set -eu

have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

wanted=""
have postfix || wanted="$wanted postfix"
have dovecot || wanted="$wanted dovecot-core"
[ -x /usr/lib/dovecot/imap ] || wanted="$wanted dovecot-imapd"
[ -x /usr/lib/dovecot/pop3 ] || wanted="$wanted dovecot-pop3d"
java_version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' || true)
[ "${java_version:-0}" -ge 17 ] || wanted="$wanted java"
have clickhouse-server || wanted="$wanted clickhouse-server"
have promtool || wanted="$wanted prometheus"
have amtool || wanted="$wanted prometheus-alertmanager"
[ -x /lib/systemd/systemd-journal-remote ] || wanted="$wanted systemd-journal-remote"
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || wanted="$wanted libfaketime"
have mvn || wanted="$wanted maven"
syslog=var/tests/syslog
# What both need to run from there.
[ -e $syslog/usr/sbin/syslog-ng ] && [ -e $syslog/usr/sbin/rsyslogd ] ||
    wanted="$wanted librdkafka1 libestr0 libfastjson4 liblognorm5 libivykis0 libnet1 libjson-c5 libwrap0 libglib2.0-0"
[ -n "$wanted" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! have apt-get; then
    echo "The full tests need:$wanted. Install them (as root on Debian: make servers), or run make check." >&2
    exit 1
fi

# Packages must not start their daemons here: whoever decides that already keeps the say.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
case "$wanted" in *java*)
    if apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then jre=openjdk-17-jre-headless; else jre=default-jre-headless; fi
    wanted=$(echo "$wanted" | sed "s/ java/ $jre/") ;;
esac
echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
# shellcheck disable=SC2086  # a list of package names
apt-get install -y -qq --no-install-recommends $wanted

if [ ! -e $syslog/usr/sbin/syslog-ng ] || [ ! -e $syslog/usr/sbin/rsyslogd ]; then
    mkdir -p $syslog/packages
    chmod 777 $syslog/packages # apt fetches as a user of its own
    (cd $syslog/packages && apt-get download -qq rsyslog rsyslog-kafka syslog-ng-core syslog-ng-mod-rdkafka)
    for package in "$syslog"/packages/*.deb; do dpkg -x "$package" $syslog; done
fi
