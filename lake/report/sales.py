"""The questions of the domain sales: what is earned, who stays, and what is owed. Money is in euros, without VAT unless
it says gross.

Where a cent matters its unit is `€, cents`: the page shows `€` without them. Void invoices are no revenue; lines whose
invoice is unknown have no month, and are in the reconciliation alone.
"""

from lake.report.sections import Section

TABLES = ("customers", "employees", "services", "contracts", "invoices", "invoice_lines", "payments")
ACCOUNTS = " UNION ALL BY NAME ".join(
    f"SELECT '{name}' AS rows_of, * FROM {{silver.sales_{name}__accounting}}"  # noqa: S608 - our own names
    for name in TABLES
)
REJECTED = " UNION ALL BY NAME ".join(
    f"SELECT '{name}' AS rows_of, reject_reason FROM {{silver.sales_{name}__rejected: reject_reason}}"  # noqa: S608 - our own names
    for name in TABLES
)

SECTIONS: tuple[Section, ...] = (
    Section(
        "Sales",
        "Revenue",
        "How much was invoiced, and how much let off?",
        """
        SELECT sum(net_revenue) AS "Net revenue, all months [€]",
            sum(discount_amount) / nullif(sum(net_revenue) + sum(discount_amount), 0)
                AS "Discount share, all months [%]"
        FROM {gold.sales_revenue_monthly}
        """,
        "tiles",
    ),
    Section(
        "Sales",
        "Recurring revenue",
        "What does a month bring by contract, and how many customers leave in one?",
        """
        SELECT sum(mrr_at_end) FILTER (is_last) AS "Recurring, last month [€]",
            sum(churned_customers) / nullif(sum(customers_at_start), 0) AS "Churn a month, of 12 months [%]"
        FROM (
            SELECT *, month_start = max(month_start) OVER () AS is_last FROM {gold.sales_churn_monthly}
            QUALIFY month_start > max(month_start) OVER () - INTERVAL 12 MONTH
        )
        """,
        "tiles",
    ),
    Section(
        "Sales",
        "Receivables",
        "How much is owed, and how much of it is late?",
        """
        SELECT sum(outstanding_amount) AS "Outstanding, gross [€]",
            coalesce(sum(outstanding_amount) FILTER (bucket <> '0 not due'), 0) / nullif(sum(outstanding_amount), 0)
                AS "Overdue share [%]"
        FROM {gold.sales_receivables_ageing}
        """,
        "tiles",
    ),
    Section(
        "Sales",
        "Revenue by month and category",
        "Which services earn?",
        """
        SELECT strftime(revenue_month, '%Y-%m') AS "Month", category AS "Category",
            sum(net_revenue) AS "Net revenue [€]"
        FROM {gold.sales_revenue_monthly} GROUP BY ALL ORDER BY ALL
        """,
        "bars",
    ),
    Section(
        "Sales",
        "Revenue by month and segment",
        "Which customers pay for it?",
        """
        SELECT strftime(revenue_month, '%Y-%m') AS "Month", segment AS "Segment", sum(net_revenue) AS "Net revenue [€]"
        FROM {gold.sales_revenue_monthly} GROUP BY ALL ORDER BY ALL
        """,
        "bars",
    ),
    Section(
        "Sales",
        "Top 15 services",
        "Which services earn most?",
        """
        SELECT coalesce(s.service_name, s.service_code) AS "Service", sum(f.net_amount) AS "Net revenue [€]"
        FROM {gold.sales_fct_invoice_line} AS f JOIN {gold.sales_dim_service} AS s ON f.service_key = s.service_key
        WHERE f.invoice_status IN ('open', 'paid') GROUP BY f.service_key, 1 ORDER BY 2 DESC, 1 LIMIT 15
        """,
        "hbars",
    ),
    Section(
        "Sales",
        "Discount share by month",
        "How much is let off of the prices?",
        """
        SELECT revenue_month AS "Month", segment AS "Segment",
            sum(discount_amount) / nullif(sum(net_revenue) + sum(discount_amount), 0) AS "Discount [%]"
        FROM {gold.sales_revenue_monthly} GROUP BY ALL ORDER BY ALL
        """,
        "line",
    ),
    Section(
        "Sales",
        "Recurring revenue in a year",
        "What has become of the monthly recurring revenue in the last twelve months?",
        """
        WITH year AS (
            SELECT * FROM {gold.sales_churn_monthly}
            QUALIFY month_start > max(month_start) OVER () - INTERVAL 12 MONTH
        ),

        ends AS (SELECT min(month_start) AS first_month, max(month_start) AS last_month FROM year),

        steps AS (
            SELECT unnest([1, 2, 3, 4, 5, 6]) AS step_order,
                unnest(['At the start', 'New', 'Expansion', 'Contraction', 'Churned', 'At the end']) AS step,
                unnest([
                    sum(mrr_at_start) FILTER (month_start = first_month), sum(mrr_new), sum(mrr_expansion),
                    -sum(mrr_contraction), -sum(mrr_churned), sum(mrr_at_end) FILTER (month_start = last_month)
                ]) AS amount
            FROM year, ends HAVING count(*) > 0
        )
        SELECT step AS "Step", amount AS "Recurring in a month [€]" FROM steps ORDER BY step_order
        """,
        "waterfall",
    ),
    Section(
        "Sales",
        "Churn by month",
        "How many of the customers leave in a month?",
        """
        SELECT month_start AS "Month", segment AS "Segment",
            sum(churned_customers) / nullif(sum(customers_at_start), 0) AS "Churn [%]"
        FROM (
            FROM {gold.sales_churn_monthly} QUALIFY month_start > max(month_start) OVER () - INTERVAL 24 MONTH
        )
        GROUP BY ALL ORDER BY ALL
        """,
        "line",
    ),
    Section(
        "Sales",
        "Customers and recurring revenue by month",
        "Who came and who left?",
        """
        SELECT strftime(month_start, '%Y-%m') AS "Month", sum(customers_at_start) AS "Customers",
            sum(new_customers) AS "New", sum(returned_customers) AS "Returned", sum(churned_customers) AS "Churned",
            sum(customers_at_end) AS "At end",
            sum(churned_customers) / nullif(sum(customers_at_start), 0) AS "Churn [%]",
            sum(mrr_new) AS "New [€]", sum(mrr_expansion) AS "Expansion [€]",
            -sum(mrr_contraction) AS "Contraction [€]", -sum(mrr_churned) AS "Churned [€]",
            sum(mrr_at_end) AS "Recurring [€]"
        FROM {gold.sales_churn_monthly} GROUP BY 1 ORDER BY 1 DESC
        """,
        "table",
    ),
    Section(
        "Sales",
        "Ageing of receivables",
        "How long has what is owed been due?",
        """
        SELECT substr(bucket, 3) AS "Due", segment AS "Segment", sum(outstanding_amount) AS "Outstanding, gross [€]"
        FROM {gold.sales_receivables_ageing} GROUP BY bucket, segment HAVING sum(outstanding_amount) > 0
        ORDER BY bucket, segment
        """,
        "bars",
    ),
    Section(
        "Sales",
        "Open invoices by due month",
        "When does what is open fall due?",
        """
        SELECT strftime(d.month_start, '%Y-%m') AS "Month of the due date", c.segment AS "Segment",
            sum(f.gross_amount) AS "Open, gross [€]"
        FROM {gold.sales_fct_invoice_line} AS f JOIN {gold.sales_dim_date} AS d ON f.due_date_key = d.date_key
        JOIN {gold.sales_dim_customer} AS c ON f.customer_key = c.customer_key
        WHERE f.invoice_status = 'open' AND d.date_key <> -1 GROUP BY ALL ORDER BY ALL
        """,
        "bars",
    ),
    Section(
        "Sales",
        "Payments by month",
        "How is it paid, and how much is paid back?",
        """
        SELECT strftime(paid_on, '%Y-%m') AS "Month", if(amount < 0, 'refunds', method) AS "Method",
            sum(amount) AS "Paid, gross [€]"
        FROM {gold.sales_fct_payment} GROUP BY ALL ORDER BY ALL
        """,
        "bars",
    ),
    Section(
        "Sales",
        "Revenue by team",
        "Which teams sell what?",
        """
        WITH sold AS (
            SELECT coalesce(e.team, 'unknown') AS team, coalesce(s.category, 'unknown') AS category,
                sum(f.net_amount) AS revenue
            FROM {gold.sales_fct_invoice_line} AS f
            JOIN {gold.sales_dim_employee} AS e ON f.employee_key = e.employee_key
            JOIN {gold.sales_dim_service} AS s ON f.service_key = s.service_key
            WHERE f.invoice_status IN ('open', 'paid') GROUP BY ALL
        )
        SELECT team AS "Team", category AS "Category", revenue AS "Net revenue [€]" FROM sold
        ORDER BY sum(revenue) OVER (PARTITION BY team) DESC, 1, 2
        """,
        "hbars",
    ),
    Section(
        "Sales",
        "Reconciliation of sales",
        "Do the lines add up to the invoices, and the facts to the lines?",
        """
        WITH invoiced AS (
            SELECT invoice_month, sum(header_net) AS header, sum(rejected_net) AS rejected,
                sum(difference_net) AS difference
            FROM {silver.sales_invoice_totals} GROUP BY 1
        ),

        facts AS (
            SELECT invoice_month, sum(net_amount) AS fact FROM {gold.sales_fct_invoice_line} GROUP BY 1
        )
        SELECT if(invoice_month > DATE '1900-01-01', strftime(invoice_month, '%Y-%m'), 'unknown') AS "Month",
            coalesce(header, 0) AS "Invoices [€, cents]",
            coalesce(fact, 0) AS "Facts [€, cents]", coalesce(rejected, 0) AS "Rejected lines [€, cents]",
            coalesce(difference, 0) AS "Invoices less lines [€, cents]",
            coalesce(header, 0) - coalesce(fact, 0) - coalesce(rejected, 0) - coalesce(difference, 0)
                AS "Unaccounted [expected 0]"
        FROM invoiced FULL JOIN facts USING (invoice_month)
        ORDER BY invoice_month > DATE '1900-01-01', invoice_month DESC
        """,
        "table",
    ),
    Section(
        "Sales",
        "Reject reasons of sales",
        "Why were rows refused?",
        "WITH counted AS (SELECT reject_reason, rows_of, count(*) AS rejected FROM ("  # noqa: S608 - our own names
        + REJECTED
        + """
        ) GROUP BY ALL)
        SELECT reject_reason AS "Reason", rows_of AS "Rows of", rejected AS "Rows" FROM counted
        ORDER BY sum(rejected) OVER (PARTITION BY reject_reason) DESC, 1, 2
        """,
        "hbars",
    ),
    Section(
        "Sales",
        "Row accounting of sales",
        "Is every row accounted for?",
        """
        SELECT rows_of AS "Rows of", sum(bronze_rows) AS "Bronze [rows]", sum(silver_rows) AS "Silver [rows]",
            sum(rejected_rows) AS "Rejected [rows]", sum(superseded_rows) AS "Older versions [rows]",
            sum(unaccounted_rows) AS "Unaccounted [expected 0]"
        FROM (
        """  # noqa: S608 - our own names
        + ACCOUNTS
        + ") GROUP BY 1 ORDER BY 1",
        "table",
    ),
)
