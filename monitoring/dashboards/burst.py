"""Burst and providers: what is bought, of whom, how it goes, what it costs."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards.panels import board, choice, graph

_P = '{provider=~"$provider"}'


def make() -> Dashboard:
    """The dashboard wanfarm-burst."""
    buying = [
        graph(
            "Decisions",
            "About jobs that would wait too long; each counts once for each thing that is said of it.",
            ("sum by (verdict) (rate(wanfarm_burst_decisions_total[10m])) * 60", "{{verdict}}"),
        ),
        graph(
            "Open at providers",
            "Jobs whose price is held. Without an id nobody knows whether the provider has them.",
            (f"sum by (provider, id) (wanfarm_purchases_open{_P})", "{{provider}}, id {{id}}"),
            stacked=True,
        ),
        graph(
            "Purchases by ending",
            "A minute.",
            (f"sum by (provider, ending) (rate(wanfarm_purchases_total{_P}[10m])) * 60", "{{provider}} {{ending}}"),
        ),
    ]
    trouble = [
        graph(
            "Orders that were not placed",
            "Of all orders. Unknown: the provider may have got it; its price stays held, and nothing is sent again.",
            (
                "sum by (provider, outcome) "
                '(rate(wanfarm_provider_submissions_total{provider=~"$provider", outcome!="placed"}[10m]))'
                " / ignoring (outcome) group_left "
                f"sum by (provider) (rate(wanfarm_provider_submissions_total{_P}[10m]))",
                "{{provider}} {{outcome}}",
            ),
            unit="percentunit",
        ),
        graph(
            "Missed polls",
            "Questions about bought jobs without a readable answer, or with a status that no document has.",
            (
                "sum by (provider, outcome) "
                '(rate(wanfarm_provider_polls_total{provider=~"$provider", outcome!="read"}[10m])) * 60',
                "{{provider}} {{outcome}}",
            ),
        ),
        graph(
            "Unreconciled",
            "Purchases that no job waits for or of which nothing is known: `wanfarm purchases list --which left`.",
            ("wanfarm_purchases_unreconciled", "purchases"),
        ),
    ]
    money = [
        graph(
            "Spent",
            "Dollars an hour.",
            (f"sum by (provider) (rate(wanfarm_provider_spent_usd_total{_P}[1h])) * 3600", "{{provider}}"),
            unit="currencyUSD",
            stacked=True,
        ),
        graph(
            "This month",
            "Held and spent; the overhead is what the farm pays for results that nobody needed any more.",
            ("wanfarm_external_month_usd", "{{scope}}"),
            unit="currencyUSD",
        ),
        graph(
            "Held",
            "Prices of purchases that are not over.",
            (f"sum by (provider, account) (wanfarm_provider_held_usd{_P})", "{{provider}}/{{account}}"),
            unit="currencyUSD",
        ),
        graph(
            "Balance",
            "As providers tell it.",
            (f"wanfarm_provider_balance_usd{_P}", "{{provider}}/{{account}}"),
            unit="currencyUSD",
            wide=True,
        ),
        graph(
            "Unexplained",
            "What went from an account without a purchase that explains it.",
            (f"wanfarm_provider_unexplained_usd{_P}", "{{provider}}/{{account}}"),
            unit="currencyUSD",
            wide=True,
        ),
    ]
    return board(
        "wanfarm-burst",
        "Wanfarm: burst and providers",
        "What is bought, of whom, how it goes, what it costs.",
        [("Buying", buying), ("Trouble", trouble), ("Money", money)],
        [choice("provider", "label_values(wanfarm_provider_submissions_total, provider)")],
    )
